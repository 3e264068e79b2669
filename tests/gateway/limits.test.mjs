// Limits and budgets hold exactly: under concurrency, over time, and when the process is killed.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { pause, until } from "./call.mjs";
import { FAILURES, assertFailure } from "./failure.mjs";
import { ask, nano, openSite, usd, worstCase } from "./site.mjs";

const AT_ONCE = 200;
const LIMIT = 50;
const AFFORDED = 20;
/** Longer than it takes to decide on all of AT_ONCE, so that all that were admitted are under way together. */
const SLOW = "l3000";

let site;

before(async () => {
  site = await openSite();
});

after(async () => {
  if (site) await site.close();
});

const many = (n, one) => Promise.all(Array.from({ length: n }, (_, i) => one(i)));
const withStatus = (answers, status) => answers.filter((answer) => answer.status === status);
/** How many requests for a model the provider has seen. */
const seen = async (model) => (await site.journal({ model })).length;
const limited = (requests, window_s = 60, more = {}) => ({ limits: [{ id: "burst", requests, window_s, ...more }] });
const budgeted = (limit_usd, more = {}) => ({ budgets: [{ id: "purse", limit_usd, period: "total", ...more }] });

describe(`${AT_ONCE} requests at once`, () => {
  test(`against a limit of ${LIMIT} admit exactly ${LIMIT}`, async () => {
    const tenant = await site.tenant("crowd", limited(LIMIT));
    const answers = await many(AT_ONCE, () => tenant.chat(ask("sim-crowd-l0-n3")));
    assert.equal(withStatus(answers, 200).length, LIMIT);
    const denied = withStatus(answers, 429);
    assert.equal(denied.length, AT_ONCE - LIMIT);
    for (const answer of denied) {
      const error = assertFailure(answer, FAILURES.limit);
      assert.deepEqual([error.limit, error.window], ["burst", "60s"]);
      assert.ok(Number(answer.headers["retry-after"]) <= 61);
      assert.deepEqual(
        [answer.headers["x-ratelimit-limit-requests"], answer.headers["x-ratelimit-remaining-requests"]],
        [String(LIMIT), "0"],
      );
      assert.match(answer.headers["x-ratelimit-reset-requests"], /^1m0|^\d+(\.\d+)?s$/);
    }
    assert.equal(await seen("sim-crowd-l0-n3"), LIMIT);
    const [rule] = (await tenant.get("/v1/usage")).json.limits;
    assert.deepEqual([rule.limit, rule.used, rule.remaining], [LIMIT, LIMIT, 0]);
    await tenant.settled();
  });

  test(`against a budget for ${AFFORDED} admit exactly ${AFFORDED}`, async () => {
    const body = ask(`sim-purse-${SLOW}`);
    const limit = AFFORDED * worstCase(body);
    const tenant = await site.tenant("purse", budgeted(usd(limit)));
    const answers = await many(AT_ONCE, () => tenant.chat(body));
    const paid = withStatus(answers, 200);
    assert.equal(paid.length, AFFORDED);
    const denied = withStatus(answers, 402);
    assert.equal(denied.length, AT_ONCE - AFFORDED);
    for (const answer of denied) {
      const error = assertFailure(answer, FAILURES.budget);
      assert.deepEqual(
        [error.budget, error.limit_usd, error.spent_usd, error.held_usd, error.resets_at],
        ["purse", usd(limit), "0", usd(limit), null],
      );
    }
    assert.equal(await seen(body.model.slice("simulated/".length)), AFFORDED);
    const { spent_usd: spent, remaining_usd: left } = await tenant.settled();
    const costs = paid.reduce((sum, answer) => sum + nano(answer.headers["x-tollgate-cost-usd"]), 0);
    assert.equal(nano(spent), costs);
    assert.equal(nano(left), limit - costs);
    // What was held and not needed is free again.
    assert.equal((await tenant.chat(ask("sim-purse-l0"))).status, 200);
  });

  test("of two tenants do not count for one another", async () => {
    const [one, other] = await many(2, (i) => site.tenant(`pair${i}`, limited(5 + i)));
    const answers = await Promise.all([one, other].map((tenant) => many(30, () => tenant.chat(ask("sim-pair-l0")))));
    assert.deepEqual(answers.map((own) => withStatus(own, 200).length), [5, 6]);
  });
});

describe("killed in the middle", () => {
  test("after all were admitted, nothing more is", async () => {
    const limit = await site.tenant("kill-limit", limited(LIMIT));
    const body = ask(`sim-kill-purse-${SLOW}`);
    const purse = await site.tenant("kill-purse", budgeted(usd(AFFORDED * worstCase(body))));
    const both = () => Promise.all([
      many(AT_ONCE / 2, () => limit.chat(ask(`sim-kill-limit-${SLOW}`))),
      many(AT_ONCE / 2, () => purse.chat(body)),
    ]);
    const dispatched = async () => [await seen(`sim-kill-limit-${SLOW}`), await seen(`sim-kill-purse-${SLOW}`)];
    const before = both();
    const full = [LIMIT, AFFORDED];
    await until("all are at the provider", async () => String(await dispatched()) === String(full), 10_000);
    await site.killAndRestart();
    await before;
    const [ofLimit, ofPurse] = await both();
    assert.deepEqual([ofLimit, ofPurse].map((answers) => withStatus(answers, 200).length), [0, 0]);
    assert.deepEqual(await dispatched(), full);
    assertFailure(ofLimit[0], FAILURES.limit);
    const error = assertFailure(ofPurse[0], FAILURES.budget);
    // A crash makes the ledger more careful, but it cannot have promised more than there was.
    assert.ok(nano(error.spent_usd) + nano(error.held_usd) <= nano(error.limit_usd), JSON.stringify(error));
  });

  test("while they are being admitted, never more than the bound pass", async () => {
    for (const [round, killAt] of [7, 15].entries()) {
      const limit = await site.tenant(`mid-limit${round}`, limited(LIMIT));
      const body = ask(`sim-mid-purse${round}-${SLOW}`);
      const purse = await site.tenant(`mid-purse${round}`, budgeted(usd(AFFORDED * worstCase(body))));
      const models = [`sim-mid-limit${round}-${SLOW}`, `sim-mid-purse${round}-${SLOW}`];
      const both = () => many(AT_ONCE, (i) => (i % 2 ? limit.chat(ask(models[0])) : purse.chat(body)));
      const before = both();
      await until("some are at the provider", async () => (await seen(models[1])) >= killAt);
      await site.killAndRestart();
      await before;
      await both();
      const [requests, holds] = [await seen(models[0]), await seen(models[1])];
      assert.ok(requests <= LIMIT, `${requests} requests under a limit of ${LIMIT}`);
      assert.ok(holds <= AFFORDED, `${holds} requests under a budget for ${AFFORDED}`);
      assert.ok(holds >= killAt, `${holds}`);
    }
  });
});

test("no window of the length has more than the limit", async () => {
  const [L, W] = [10, 2000];
  const model = "sim-steady-l0-n1";
  const tenant = await site.tenant("steady", limited(L, W / 1000));
  const ends = Date.now() + 3.5 * W;
  const sent = [];
  await many(3, async () => {
    while (Date.now() < ends) {
      const n = sent.push(Date.now()) - 1;
      const answer = await tenant.chat(ask(model, { user: String(n) }));
      await pause(answer.status === 429 ? Math.min(25, Number(answer.headers["retry-after-ms"])) : 0);
    }
  });
  const passed = (await site.journal({ model })).map((entry) => ({ sent: sent[Number(entry.body.user)], at: entry.at_ms }));
  assert.ok(sent.length - passed.length > 50, `${sent.length - passed.length} denied`);
  // Three windows have begun, and nearly all of the limit can be used.
  assert.ok(passed.length >= 3 * L, `${passed.length} admitted`);
  // A request was admitted between its sending and its arrival, so what lies in a window as a whole, counts.
  for (const { at: end } of passed) {
    const inside = passed.filter((one) => one.sent > end - W && one.at <= end).length;
    assert.ok(inside <= L, `${inside} requests within ${W} ms`);
  }
});

test("the told time to wait is enough", async () => {
  const tenant = await site.tenant("waiting", limited(2, 1));
  await many(2, () => tenant.chat(ask("sim-l0")));
  const denied = await tenant.chat(ask("sim-l0"));
  assertFailure(denied, FAILURES.limit);
  await pause(Number(denied.headers["retry-after-ms"]));
  assert.equal((await tenant.chat(ask("sim-l0"))).status, 200);
});

test("a scope of `key` counts each key for itself", async () => {
  const body = ask("sim-keys-l0");
  const budgets = [
    { id: "own", scope: "key", limit_usd: usd(3 * worstCase(body)), period: "day" },
    { id: "all", limit_usd: "10", period: "total" },
  ];
  const tenant = await site.tenant("keys", { ...limited(5, 60, { scope: "key" }), budgets });
  const { key: second } = await tenant.newKey();
  const slow = ask("sim-keys-l1500");
  const held = { ...slow, max_tokens: slow.max_tokens - 1 };
  assert.ok(worstCase(held) < worstCase(body));
  const [ofFirst, ofSecond] = await Promise.all([many(5, () => tenant.chat(held)), many(2, () => tenant.chat(held, { key: second }))]);
  assert.deepEqual([ofFirst, ofSecond].map((answers) => withStatus(answers, 200).length), [3, 2]);
  assert.equal(assertFailure(withStatus(ofFirst, 402)[0], FAILURES.budget).budget, "own");
  await tenant.settled();
  const own = async (key) => {
    const { limits, budgets: [money] } = (await tenant.get("/v1/usage", key)).json;
    return [limits[0].used, money.id, nano(money.spent_usd) > 0];
  };
  // A denied request counts against no limit.
  assert.deepEqual(await own(tenant.key), [3, "own", true]);
  assert.deepEqual(await own(second), [2, "own", true]);
  const rest = await many(6, () => tenant.chat(ask("sim-l0-n1", { max_tokens: 1 }), { key: second }));
  assert.deepEqual([withStatus(rest, 200).length, withStatus(rest, 429).length], [3, 3]);
});

test("spent is the sum of the costs, to the last digit", async () => {
  const prices = { "simulated/*": { input_usd_per_mtok: "0.123457", output_usd_per_mtok: "7.654321" } };
  const tenant = await site.tenant("sums", { prices });
  const answers = await many(25, (i) => tenant.chat(ask(`sim-l0-n${i + 1}`)));
  const costs = answers.map((answer) => nano(answer.headers["x-tollgate-cost-usd"]));
  const { usage } = JSON.parse(answers[24].text);
  assert.equal(costs[24], Math.floor((usage.prompt_tokens * 123457 + usage.completion_tokens * 7654321 + 500) / 1000));
  const spent = nano((await tenant.settled()).spent_usd);
  assert.equal(spent, costs.reduce((sum, cost) => sum + cost, 0));
  const rows = await tenant.usage();
  assert.equal(rows.reduce((sum, row) => sum + nano(row.cost_usd), 0), spent);
  assert.equal(rows.reduce((sum, row) => sum + row.requests, 0), 25);
});

test("a key uses the models it is allowed, and no others", async () => {
  const models = { fast: { target: "simulated/sim-small-l0" }, slow: { target: "simulated/sim-large-l0" } };
  const tenant = await site.tenant("models", { models });
  const { key } = await tenant.newKey({ models: ["fast", "simulated/sim-own-l0"] });
  for (const [model, allowed] of [["fast", true], ["simulated/sim-own-l0", true], ["slow", false], ["simulated/sim-small-l0", false]]) {
    const answer = await tenant.chat(ask("", { model }), { key });
    if (allowed) assert.equal(answer.status, 200, model);
    else assertFailure(answer, FAILURES.modelNotAllowed);
  }
  const listed = (await tenant.get("/v1/models", key)).json.data.map(({ id }) => id);
  assert.deepEqual(listed, ["fast"]);
  assertFailure(await tenant.get("/v1/models/slow", key), FAILURES.modelNotFound);
  assert.equal((await tenant.chat(ask("", { model: "slow" }))).status, 200);
});

test("revocation is immediate, and lets what is under way end", async () => {
  const tenant = await site.tenant("revoked");
  const { id, key } = await tenant.newKey();
  assert.equal((await tenant.chat(ask("sim-l0"), { key })).status, 200);
  const under = tenant.chat(ask("sim-revoked-l600"), { key });
  await until("it is at the provider", () => seen("sim-revoked-l600"));
  await site.manage("DELETE", `/tenants/revoked/keys/${id}`);
  for (const answer of await many(5, () => tenant.chat(ask("sim-l0"), { key }))) assertFailure(answer, FAILURES.key);
  assert.equal((await under).status, 200);
  assert.equal((await tenant.chat(ask("sim-l0"))).status, 200);
  await tenant.settled();
});

test("the answer does not wait for its settlement, which is seen within 2 s", async () => {
  const tenant = await site.tenant("later");
  const answer = await tenant.chat(ask("sim-l0"));
  const { spent_usd, held_usd } = await tenant.budget();
  assert.deepEqual([spent_usd, held_usd], ["0", usd(worstCase(ask("sim-l0")))]);
  const settled = await tenant.settled(2000);
  assert.equal(settled.spent_usd, answer.headers["x-tollgate-cost-usd"]);
});

test("a tighter configuration holds from the next request on, and forgets nothing", async () => {
  const tenant = await site.tenant("tighter", limited(10));
  await many(6, () => tenant.chat(ask("sim-l0")));
  await site.manage("PUT", "/tenants/tighter/config", limited(7));
  const answers = await many(5, () => tenant.chat(ask("sim-l0")));
  assert.equal(withStatus(answers, 200).length, 1);
});
