// Routing as operators see it after real traffic: what was decided, saved, and would have been otherwise.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { call } from "./call.mjs";
import { nano, openSite } from "./site.mjs";

const price = (input, output) => ({ input_usd_per_mtok: input, output_usd_per_mtok: output });
const CHEAP = "simulated/sim-cheap-l0-n20";
const DEAR = "simulated/sim-dear-l0-n20";
const BROKEN = "simulated/sim-broken-e500";
const BASELINE = "simulated/sim-baseline";
const COUNT = 14;

const pool = (strategy) => ({ strategy, targets: [{ target: CHEAP, weight: 1, quality: 0.6 }, { target: DEAR, weight: 1, quality: 0.9 }] });
const document = {
  budgets: [{ id: "all", limit_usd: "1000", period: "total" }],
  models: { mixed: pool("weighted"), shaky: { targets: [BROKEN, CHEAP] } },
  prices: { [CHEAP]: price("1", "2"), [DEAR]: price("4", "8"), [BROKEN]: price("1", "1"), [BASELINE]: price("10", "20") },
  savings: { baseline: BASELINE },
  decisions: { sample_per_mille: 1000 },
  retry: { same_target: 0 },
  breaker: { consecutive_failures: 100, error_percent: 100, min_requests: 10_000 },
};
const names = (answer) => `${answer.headers["x-tollgate-provider"]}/${answer.headers["x-tollgate-model"]}`;

let site;
let tenant;
/** Request id → who answered, as the client was told. */
const answered = new Map();

before(async () => {
  site = await openSite();
  tenant = await site.tenant("traffic", document);
  const send = async (model) => {
    const answer = await tenant.chat({ model, messages: [{ role: "user", content: "Hello" }], max_tokens: 50 });
    assert.equal(answer.status, 200, answer.text);
    answered.set(answer.headers["x-request-id"], names(answer));
  };
  for (let n = 0; n < COUNT; n++) await send("mixed");
  for (let n = 0; n < 2; n++) await send("shaky");
  await tenant.settled();
});

after(async () => {
  if (site) await site.close();
});

const manage = (method, route, body) => site.manage(method, `/tenants/traffic${route}`, body);
const spent = (rows) => rows.reduce((sum, row) => sum + nano(row.cost_usd), 0);
/** Nano-dollars of a string that may have a sign. */
const signed = (text) => (text.startsWith("-") ? -nano(text.slice(1)) : nano(text));
const post = (body, key = tenant.key) =>
  call(`${site.url}/v1/feedback`, { method: "POST", headers: { authorization: `Bearer ${key}`, "content-type": "application/json" }, body });

async function everything(query = "") {
  const all = [];
  for (let cursor = ""; cursor !== null; ) {
    const page = await manage("GET", `/requests?limit=5${query}${cursor && `&cursor=${cursor}`}`);
    assert.ok(page.data.length <= 5);
    all.push(...page.data);
    cursor = page.next_cursor;
  }
  return all;
}

describe("recorded decisions", () => {
  test("are listed page by page, each once, with who answered", async () => {
    const rows = await everything();
    assert.deepEqual(rows.map((row) => [row.id, row.target]), [...answered].sort());
    assert.ok(rows.every((row) => row.key === tenant.keyId && row.outcome === "ok"));
    assert.deepEqual(rows.filter((row) => row.model === "shaky").map((row) => row.attempts), [2, 2]);
    const [first] = rows;
    const after = new Date(Date.parse(first.at) + 86_400_000).toISOString();
    assert.deepEqual([await everything(`&from=${after}`), await everything(`&to=2026-01-01`)], [[], []]);
    assert.equal((await everything(`&from=2026-01-01&to=${after}`)).length, rows.length);
  });

  test("tell each target's place, and what came of it", async () => {
    const [id, target] = [...answered].find(([, name]) => name === DEAR) ?? [...answered][0];
    const told = await manage("GET", `/requests/${id}`);
    assert.deepEqual([told.id, told.model, told.strategy, told.order[0], told.refused], [id, "mixed", "weighted", target, null]);
    assert.deepEqual(told.candidates.map((c) => c.target), [CHEAP, DEAR]);
    assert.deepEqual(told.candidates.map((c) => c.place).sort(), [1, 2]);
    assert.deepEqual(told.candidates.map((c) => [c.quality, c.left_out, c.breaker]), [[0.6, null, "closed"], [0.9, null, "closed"]]);
    assert.ok(told.candidates.every((c) => /^\d+$/.test(c.score.number) && nano(c.expected_cost_usd) > 0 && nano(c.worst_case_usd) > 0));
    assert.deepEqual(told.attempts.map((a) => [a.target, a.outcome, a.status, a.cost_usd]), [[target, "ok", 200, told.cost_usd]]);
    assert.ok(told.usage.output_tokens > 0 && nano(told.cost_usd) > 0);
    assert.equal(told.ask.most_output_tokens, 50);
    const [shaky] = (await everything()).filter((row) => row.model === "shaky");
    const failed = await manage("GET", `/requests/${shaky.id}`);
    assert.deepEqual(failed.attempts.map((a) => [a.target, a.outcome]), [[BROKEN, "server"], [CHEAP, "ok"]]);
  });

  test("leave out a target with the reason", async () => {
    await manage("PUT", "/config", { ...document, models: { mixed: { ...pool("cheapest"), min_quality: 0.8 } } });
    const answer = await tenant.chat({ model: "mixed", messages: [{ role: "user", content: "Hello" }], max_tokens: 50 });
    assert.deepEqual([answer.status, names(answer)], [200, DEAR]);
    await tenant.settled();
    const told = await manage("GET", `/requests/${answer.headers["x-request-id"]}`);
    assert.deepEqual(told.candidates[0].left_out, { why: "quality", message: "its quality 0.6 is below 0.8" });
    assert.deepEqual([told.candidates[1].place, told.config_version], [1, 2]);
    assert.equal(told.candidates[1].score.cost_usd, told.candidates[1].expected_cost_usd);
    answered.set(answer.headers["x-request-id"], DEAR);
    await manage("PUT", "/config", document);
  });
});

describe("savings", () => {
  test("add up to what was spent and would have been, by day, by model and together", async () => {
    const { data, totals, truncated } = await manage("GET", "/savings");
    assert.equal(truncated, false);
    for (const row of [...data, totals]) {
      const causes = Object.values(row.by_cause).reduce((sum, text) => sum + signed(text), 0);
      assert.equal(signed(row.actual_usd) + causes, signed(row.counterfactual_usd), JSON.stringify(row));
      assert.equal(signed(row.saved_usd), causes);
    }
    const rows = await everything();
    assert.deepEqual([...new Set(data.map((row) => row.model))].sort(), ["mixed", "shaky"]);
    assert.deepEqual([totals.requests, nano(totals.actual_usd)], [rows.length, spent(rows)]);
    // The baseline is ten and two and a half times as dear.
    const cost = (name) => spent(rows.filter((row) => row.target === name));
    assert.equal(nano(totals.counterfactual_usd), cost(CHEAP) * 10 + cost(DEAR) * 2.5);
    assert.ok(totals.output_tokens > 0 && signed(totals.by_cause.route) > 0);
    assert.deepEqual((await manage("GET", "/savings?from=2026-01-01&to=2026-01-02")).data, []);
  });

  test("advise the cheaper target with what was observed of it", async () => {
    const advice = await manage("GET", `/advice?model=mixed&target=${BASELINE}`);
    const names = advice.data.map((row) => row.target);
    assert.deepEqual(names, [CHEAP, DEAR, BASELINE]);
    const costs = advice.data.map((row) => nano(row.cost_usd));
    assert.ok(costs[0] * 4 === costs[1] && costs[0] * 10 === costs[2], costs.join());
    for (const row of advice.data) assert.equal(signed(row.saves_usd), nano(advice.actual_usd) - nano(row.cost_usd));
    assert.deepEqual(advice.data.map((row) => row.observed), [true, true, false]);
    assert.deepEqual([advice.requests, advice.data[1].quality], [COUNT + 1, 0.9]);
  });
});

describe("a replay", () => {
  test("under the same document moves nothing", async () => {
    const same = await manage("POST", "/replay", { config: document });
    const mixed = same.changes.filter((change) => change.model === "mixed");
    // One was decided under another document in between.
    assert.ok(mixed.length <= 1, JSON.stringify(mixed));
    assert.deepEqual([same.requests, same.denied_before, same.denied_after, same.next_cursor], [answered.size, 0, 0, null]);
  });

  test("tells what would go elsewhere, cost less, or be denied, and sends nothing", async () => {
    const seen = (await site.journal({ limit: 1_000 })).length;
    const before = await site.manage("GET", "/tenants/traffic");
    const cheapest = await manage("POST", "/replay", { config: { ...document, models: { ...document.models, mixed: pool("cheapest") } } });
    const rows = await everything();
    const dear = rows.filter((row) => row.target === DEAR);
    const moved = cheapest.changes.filter((change) => change.model === "mixed");
    assert.deepEqual(moved.map((change) => [change.id, change.before, change.after, change.denied]), dear.map((row) => [row.id, DEAR, CHEAP, null]));
    for (const change of moved) assert.equal(nano(change.cost_before_usd), nano(change.cost_after_usd) * 4);
    assert.equal(nano(cheapest.cost_before_usd), spent(rows));
    assert.equal(signed(cheapest.saved_usd), nano(cheapest.cost_before_usd) - nano(cheapest.cost_after_usd));
    const denied = await manage("POST", "/replay", { config: { ...document, models: { mixed: { ...pool("ordered"), require_tags: ["eu"] } } } });
    assert.deepEqual([denied.denied_after, denied.changes.length], [rows.length, rows.length]);
    assert.deepEqual([...new Set(denied.changes.map((change) => change.denied))].sort(), ["it is not tagged eu", "model_not_found"]);
    assert.equal((await site.journal({ limit: 1_000 })).length, seen);
    assert.deepEqual(await site.manage("GET", "/tenants/traffic"), before);
  });

  test("goes on where it stopped", async () => {
    const config = { ...document, models: {} };
    const [first, whole] = [await manage("POST", "/replay", { config, limit: 6 }), await manage("POST", "/replay", { config })];
    const rest = await manage("POST", "/replay", { config, cursor: first.next_cursor });
    assert.deepEqual([first.requests, rest.requests, rest.next_cursor], [6, whole.requests - 6, null]);
    assert.deepEqual([...first.changes, ...rest.changes], whole.changes);
  });
});

test("feedback without a target goes to who answered, for other keys of the tenant too", async () => {
  const [shaky] = (await everything()).filter((row) => row.model === "shaky");
  const other = await tenant.newKey();
  const known = async (target) => (await manage("GET", "/providers")).data.find((row) => row.target === target);
  const before = (await known(CHEAP)).feedback;
  const answer = await post({ request_id: shaky.id, score: 0 }, other.key);
  assert.deepEqual([answer.status, JSON.parse(answer.text).target], [200, CHEAP]);
  assert.ok((await known(CHEAP)).feedback < before);
  const broken = await known(BROKEN);
  assert.deepEqual([broken.seen.attempts, broken.seen.failed, broken.seen.error_rate, broken.feedback], [2, 2, 1, 0]);
  assert.deepEqual([broken.seen.classes, broken.seen.price, broken.seen.cost_usd_per_mtok], [{ server: 2 }, null, null]);
});
