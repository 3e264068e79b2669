// Every kind of rule as operators see it, and who was denied by which.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until } from "./call.mjs";
import { FAILURES, assertFailure } from "./failure.mjs";
import { ask, nano, openSite, usd } from "./site.mjs";

let site;

before(async () => {
  site = await openSite();
});

after(async () => {
  if (site) await site.close();
});

const refused = (answer, expected) => assertFailure(answer, { ...expected, admin: true });
const hour = (n) => new Date(Date.now() + n * 3_600_000).toISOString();
const only = (row, names) => Object.fromEntries(names.map((name) => [name, row[name]]));
const MODEL = "simulated/sim-rules-l0-n80";

describe("limits", () => {
  const limits = [
    { id: "rpm", scope: "key", requests: 100, window_s: 60 },
    { id: "tokens", scope: "key", tokens: 1_000_000, window_s: 600 },
    { id: "bucket", input_tokens: 1, window_s: 86_400, algorithm: "token_bucket", burst: 500_000 },
    { id: "spend", cost_usd: "2.5", window_s: 3_600, when_unreachable: "open" },
    { id: "money-bucket", cost_usd: "0.000000001", window_s: 86_400, algorithm: "token_bucket", burst: "0.75" },
    { id: "at-once", concurrency: 7 },
    { id: "per-model", scope: "model", requests: 50, window_s: 600 },
    { id: "per-team", scope: "metadata:team", output_tokens: 100_000, window_s: 600 },
    { id: "watched", requests: 1, window_s: 600, mode: "shadow" },
  ];

  test("of every kind are shown in their unit, each with whose it is", async () => {
    const tenant = await site.tenant("limits", { limits });
    const { id: keyId, key } = await tenant.newKey({ metadata: { team: "red" } });
    const answer = await tenant.chat(ask(MODEL.slice("simulated/".length)), { key });
    const { prompt_tokens: input, completion_tokens: output } = JSON.parse(answer.text).usage;
    const cost = answer.headers["x-tollgate-cost-usd"];
    await tenant.settled();
    const { object, data } = await site.manage("GET", "/tenants/limits/limits");
    assert.equal(object, "list");
    const row = (id, subject = null) => data.find((l) => l.id === id && l.subject === subject);
    const keyed = { scope: "key", subject: keyId, key: keyId };
    const all = { scope: "tenant", subject: null, key: null };
    const window = { algorithm: "sliding_window", burst: null, shadow: false, fails_open: false };
    const counted = (amount, used) => ({ amount, limit: amount, used, remaining: amount - used });
    const paid = (limit, used = cost) => ({ limit, used, remaining: usd(nano(limit) - nano(used)) });
    const expected = [
      { id: "rpm", ...keyed, measure: "requests", window_s: 60, ...window, ...counted(100, 1) },
      { id: "tokens", ...keyed, measure: "tokens", window_s: 600, ...window, ...counted(1_000_000, input + output) },
      { id: "bucket", ...all, measure: "input_tokens", window_s: 86_400, ...window, algorithm: "token_bucket", burst: 500_000,
        ...counted(500_000, input), amount: 1 },
      { id: "spend", ...all, measure: "cost_usd", window_s: 3_600, ...window, fails_open: true, amount: "2.5", ...paid("2.5") },
      { id: "money-bucket", ...all, measure: "cost_usd", window_s: 86_400, ...window, algorithm: "token_bucket", burst: "0.75",
        amount: "0.000000001", ...paid("0.75") },
      { id: "at-once", ...all, measure: "concurrency", window_s: null, ...window, algorithm: null, ...counted(7, 0) },
      { id: "per-model", scope: "model", subject: MODEL, key: null, measure: "requests", window_s: 600, ...window, ...counted(50, 1) },
      { id: "per-team", scope: "metadata:team", subject: "red", key: null, measure: "output_tokens", window_s: 600, ...window,
        ...counted(100_000, output) },
      { id: "watched", ...all, measure: "requests", window_s: 600, ...window, shadow: true, ...counted(1, 1) },
    ];
    for (const { reset_ms: reset, ...shown } of expected.map(({ id, subject }) => ({ ...row(id, subject) }))) {
      assert.deepEqual(shown, expected.find(({ id }) => id === shown.id));
      const longest = shown.algorithm === "token_bucket" ? Infinity : ((shown.window_s ?? 0) * 1000 * 65) / 64 + 65;
      assert.ok(shown.algorithm === null ? reset === 0 : reset > 0 && reset <= longest, `${shown.id}: ${reset}`);
    }
    // The other key has its own shares, of which nothing is used.
    assert.deepEqual(only(row("tokens", tenant.keyId), ["key", "used"]), { key: tenant.keyId, used: 0 });
    assert.equal(data.length, expected.length + 2);
  });

  test("on what is under way count it, and forget it", async () => {
    const tenant = await site.tenant("under-way", { limits: [{ id: "at-once", scope: "model", concurrency: 5 }], budgets: [] });
    const state = async () => (await site.manage("GET", "/tenants/under-way/limits")).data.map((l) => [l.subject, l.used, l.remaining]);
    assert.deepEqual(await state(), []);
    const asking = [1, 2].map(() => tenant.chat(ask("sim-under-way-l1000")));
    await until("both are under way", async () => (await state())[0]?.[1] === 2);
    assert.deepEqual(await state(), [["simulated/sim-under-way-l1000", 2, 3]]);
    await Promise.all(asking);
    await until("nothing is under way", async () => ((await state())[0]?.[1] ?? 0) === 0);
  });

  test("are shown under the document that they were counted under", async () => {
    const some = { limits: [{ id: "x", requests: 10, window_s: 60 }], budgets: [{ id: "y", limit_usd: "1", period: "day" }] };
    const others = { limits: [{ id: "x", cost_usd: "3", window_s: 60 }], budgets: [{ id: "y", limit_usd: "2", rolling_s: 60 }] };
    await site.manage("PUT", "/tenants/torn", { config: some });
    let writing = true;
    const writes = (async () => {
      for (let i = 0; i < 120; i += 1) await site.manage("PUT", "/tenants/torn/config", i % 2 ? some : others);
      writing = false;
    })();
    const seen = new Set();
    while (writing) {
      const [limits, budgets] = await Promise.all(["limits", "budgets"].map((what) => site.admin("GET", `/tenants/torn/${what}`)));
      // While somebody writes without pause it may be that no two readings fit.
      if (limits.status !== 503) seen.add(JSON.stringify(only(limits.json.data[0], ["measure", "limit"])));
      if (budgets.status !== 503) seen.add(JSON.stringify(only(budgets.json.data[0], ["period", "limit_usd"])));
    }
    await writes;
    const whole = [{ measure: "requests", limit: 10 }, { measure: "cost_usd", limit: "3" }, { period: "day", limit_usd: "1" }, { period: null, limit_usd: "2" }];
    assert.deepEqual([...seen].sort(), whole.map((one) => JSON.stringify(one)).sort());
  });
});

describe("budgets", () => {
  test("of every kind are shown with whose they are, and with what was crossed", async () => {
    const [later, earlier] = [hour(1), hour(-1)];
    const budgets = [
      { id: "month", limit_usd: "0.0005", period: "month", time_zone: "Europe/Berlin", thresholds: [10, 90],
        top_ups: [{ amount_usd: "0.0005", expires_at: later }, { amount_usd: "7", expires_at: earlier }] },
      { id: "rolling", scope: "metadata:team", limit_usd: "1", rolling_s: 86_400, thresholds: [100] },
      { id: "models", scope: "model", limit_usd: "1", period: "total" },
      { id: "watched", limit_usd: "0.000001", period: "hour", mode: "shadow" },
    ];
    const tenant = await site.tenant("budgets", { budgets });
    const { key } = await tenant.newKey({ metadata: { team: "red" } });
    const answer = await tenant.chat(ask(MODEL.slice("simulated/".length)), { key });
    const cost = answer.headers["x-tollgate-cost-usd"];
    await tenant.settled();
    const { data, permits, orphaned_permits: orphans } = await site.manage("GET", "/tenants/budgets/budgets");
    assert.deepEqual([data.map(({ id }) => id), permits, orphans], [["month", "rolling", "models", "watched"], 0, 0]);
    const [month, rolling, models, watched] = data;
    const names = ["scope", "subject", "key", "limit_usd", "spent_usd", "remaining_usd", "period", "time_zone", "rolling_s", "shadow"];
    const all = { scope: "tenant", subject: null, key: null };
    const left = (limit) => ({ limit_usd: limit, spent_usd: cost, remaining_usd: usd(Math.max(0, nano(limit) - nano(cost))) });
    assert.deepEqual(only(month, names), { ...all, ...left("0.001"), period: "month", time_zone: "Europe/Berlin", rolling_s: null, shadow: false });
    assert.deepEqual(only(rolling, names), { scope: "metadata:team", subject: "red", key: null, ...left("1"), period: null, time_zone: null, rolling_s: 86_400, shadow: false });
    assert.deepEqual(only(models, names), { scope: "model", subject: MODEL, key: null, ...left("1"), period: "total", time_zone: "UTC", rolling_s: null, shadow: false });
    assert.deepEqual(only(watched, names), { ...all, ...left("0.000001"), period: "hour", time_zone: "UTC", rolling_s: null, shadow: true });
    for (const { held_usd: held, orphaned_usd: orphaned } of data) assert.deepEqual([held, orphaned], ["0", "0"]);
    // Top-ups that have ended are not shown.
    assert.deepEqual(month.top_ups.map((t) => [t.amount_usd, Date.parse(t.expires_at)]), [["0.0005", Date.parse(later)]]);
    const [crossed, uncrossed] = month.thresholds;
    assert.deepEqual([crossed.percent, uncrossed], [10, { percent: 90, crossed_at: null }]);
    assert.ok(Math.abs(Date.parse(crossed.crossed_at) - Date.now()) < 60_000, crossed.crossed_at);
    assert.deepEqual([rolling.thresholds, models.thresholds], [[{ percent: 100, crossed_at: null }], []]);
    // In Berlin a month begins at its midnight.
    const berlin = new Intl.DateTimeFormat("en-GB", { timeZone: "Europe/Berlin", day: "numeric", hour: "numeric", minute: "numeric", hourCycle: "h23" });
    for (const at of [month.period_start, month.resets_at]) assert.equal(berlin.format(new Date(at)).replace(/\D+/g, " "), "1 00 00", at);
    assert.ok(Date.parse(month.period_start) <= Date.now() && Date.now() < Date.parse(month.resets_at));
    assert.deepEqual([rolling.resets_at, models.resets_at], [null, null]);
    assert.ok(Math.abs(Date.parse(rolling.period_start) - (Date.now() - 86_400_000)) < 60_000, rolling.period_start);
  });

  test("tell what a restart left open apart from what is held", async () => {
    const tenant = await site.tenant("orphans");
    tenant.chat(ask("sim-orphans-l20000"));
    const state = async () => (await site.manage("GET", "/tenants/orphans/budgets")).data[0];
    const held = await until("it is held", async () => {
      const { held_usd: text, orphaned_usd: orphaned } = await state();
      return text !== "0" && orphaned === "0" && text;
    });
    await site.killAndRestart();
    const after = await state();
    assert.notEqual(after.orphaned_usd, "0");
    // All that is held is from before, and it is no less than what was held.
    assert.equal(after.held_usd, after.orphaned_usd);
    assert.ok(nano(after.held_usd) >= nano(held), `${after.held_usd} of ${held}`);
    assert.equal(nano(after.remaining_usd), nano(after.limit_usd) - nano(after.held_usd));
  });
});

describe("violations", () => {
  const sums = (rows) => {
    const all = {};
    for (const { key, rule, shadow, count } of rows) {
      const name = `${key} ${rule}${shadow ? " (shadow)" : ""}`;
      all[name] = (all[name] ?? 0) + count;
    }
    return all;
  };

  test("are listed by minute, key and rule; the worst keys lead", async () => {
    const tenant = await site.tenant("denied", {
      limits: [{ id: "two", scope: "key", requests: 2, window_s: 600 }, { id: "watched", requests: 3, window_s: 600, mode: "shadow" }],
      budgets: [{ id: "none", limit_usd: "0", period: "day", scope: "model", only: ["simulated/sim-denied-l0"] }],
    });
    const [one, other, narrow, gone] = await Promise.all([{}, {}, { models: ["fast"] }, {}].map((key) => tenant.newKey(key)));
    await site.manage("DELETE", `/tenants/denied/keys/${gone.id}`);
    const times = async (n, key, model = "sim-l0") => {
      for (let i = 0; i < n; i += 1) await tenant.chat(ask(model), { key: key.key });
    };
    const since = Date.now();
    await times(1, one, "sim-denied-l0");
    await times(5, one);
    await times(4, other);
    await times(2, narrow);
    await times(1, gone);
    const expected = {
      [`${one.id} budget:none`]: 1, [`${one.id} limit:two`]: 3, [`${other.id} limit:two`]: 2,
      [`${other.id} limit:watched (shadow)`]: 1, [`${narrow.id} model`]: 2, " key": 1,
    };
    const seen = async () => site.manage("GET", "/tenants/denied/violations");
    const { object, interval, data, top, from, to } = await seen();
    assert.deepEqual([object, interval, sums(data)], ["list", "1m", expected]);
    for (const { minute } of data) {
      assert.ok(Date.parse(minute) % 60_000 === 0 && Date.parse(minute) > since - 60_000 && Date.parse(minute) <= Date.now(), minute);
    }
    assert.deepEqual(data.map(({ minute }) => minute), data.map(({ minute }) => minute).sort());
    assert.deepEqual(top.slice(0, 1), [{ key: one.id, count: 4 }]);
    const rest = [{ key: other.id, count: 2 }, { key: narrow.id, count: 2 }, { key: "", count: 1 }];
    const order = (a, b) => b.count - a.count || (a.key < b.key ? -1 : 1);
    assert.deepEqual(top.slice(1), rest.sort(order));
    assert.ok(Date.parse(from) < since && Date.parse(to) > since);
    // They are on disk, and are counted on after a restart.
    await site.killAndRestart();
    assert.deepEqual(sums((await seen()).data), expected);
    await times(1, gone);
    assert.deepEqual(sums((await seen()).data), { ...expected, " key": 2 });
  });

  test("are told for the asked time", async () => {
    const tenant = await site.tenant("asked", { limits: [{ id: "one", requests: 1, window_s: 600 }] });
    for (let i = 0; i < 2; i += 1) await tenant.chat(ask("sim-l0"));
    const read = (query) => site.admin("GET", `/tenants/asked/violations?${query}`);
    const counts = async (query) => Object.values(sums((await read(query)).json.data));
    assert.deepEqual([await counts(""), await counts(`from=${hour(-2)}&to=${hour(1)}`)], [[1], [1]]);
    const past = await read(`from=${hour(-2)}&to=${hour(-1)}`);
    assert.deepEqual([past.json.data, past.json.top], [[], []]);
    for (const name of ["from", "to"]) {
      for (const text of ["yesterday", "", "1700000000"]) refused(await read(`${name}=${text}`), FAILURES.field(name));
    }
    refused(await site.admin("GET", "/tenants/nobody/violations"), FAILURES.noPath);
    refused(await site.admin("GET", "/tenants/A/violations"), FAILURES.field("tenant"));
    const posted = await site.admin("POST", "/tenants/asked/violations", {});
    refused(posted, FAILURES.method);
    assert.equal(posted.headers.allow, "GET");
  });
});
