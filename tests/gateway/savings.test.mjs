// The savings ledger on the running gateway: every cause, to the nano-dollar, beside what was spent.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { until } from "./call.mjs";
import { nano, openSite } from "./site.mjs";

const price = (input, output, cached) => ({ input_usd_per_mtok: input, output_usd_per_mtok: output, ...(cached && { cached_input_usd_per_mtok: cached }) });
const BASELINE = "simulated/sim-base-l0-n17-r3";
const TWIN = "simulated-azure/sim-base-l0-n17-r3";
const CHEAP = "simulated/sim-cheap-l0-n19";
const SMALL = "simulated/sim-small-l0-n11";
const BROKEN = "simulated/sim-broken-e500";
/** Half of the answer, then nothing: what came of it is charged. */
const CUT = "simulated/sim-cut-l0-n23-x9";
/** Nano-dollars for a token: input, output, input from the cache. Odd figures, so that nothing adds up by chance. */
const RATES = { [BASELINE]: [10_007, 30_011, 1003], [TWIN]: [7_001, 20_023, 701], [CHEAP]: [331, 977], [SMALL]: [101, 211], [BROKEN]: [50, 60], [CUT]: [2003, 4001] };
const text = (rate) => (rate / 1000).toString();

let site;
let tenant;

before(async () => {
  site = await openSite();
  const hour = { window_s: 3600 };
  tenant = await site.tenant("saver", {
    models: {
      dear: { target: BASELINE },
      route: { target: CHEAP },
      twin: { target: TWIN },
      shaky: { targets: [BROKEN, BASELINE] },
      broken: { targets: [CUT, CHEAP] },
      limited: { target: CHEAP },
      small: { target: SMALL },
    },
    limits: [{ id: "few", scope: "model", only: [CHEAP, "limited"], requests: 1, ...hour, when_exceeded: [{ downgrade: "small" }] }],
    prices: Object.fromEntries(Object.entries(RATES).map(([name, [input, output, cached]]) => [name, price(text(input), text(output), cached && text(cached))])),
    savings: { baseline: BASELINE },
    cache: { enabled: true, ttl_s: 300 },
    decisions: { sample_per_mille: 1000 },
    retry: { same_target: 0 },
    breaker: { enabled: false },
  });
});

after(async () => {
  if (site) await site.close();
});

const signed = (amount) => (amount.startsWith("-") ? -nano(amount.slice(1)) : nano(amount));
const at = (target, { prompt_tokens: input, completion_tokens: output, prompt_tokens_details: details }) => {
  const [fresh, out, read] = RATES[target];
  const cached = details?.cached_tokens ?? 0;
  return (input - cached) * fresh + cached * (read ?? fresh) + output * out;
};

test("each cause tells its own part, and all of them make up the difference", async () => {
  const expected = {};
  let spent = 0;
  let wouldHave = 0;
  const note = (model, cause, amount) => {
    expected[model] ??= {};
    if (amount !== 0) expected[model][cause] = (expected[model][cause] ?? 0) + amount;
  };
  const count = (answer) => {
    const { usage } = JSON.parse(answer.text);
    const cost = nano(answer.headers["x-tollgate-cost-usd"]);
    spent += cost;
    wouldHave += at(BASELINE, usage);
    return { answer, usage, cost };
  };
  const send = async (model, content, options) => {
    const answer = await tenant.chat({ model, messages: [{ role: "user", content }], max_tokens: 50 }, options);
    assert.equal(answer.status, 200, `${model}: ${answer.text}`);
    return count(answer);
  };
  const plain = { headers: { "x-tollgate-cache": "skip" } };

  const dear = await send("dear", "at the baseline", plain);
  assert.equal(dear.cost, at(BASELINE, dear.usage));
  note("dear", "none", 0);

  const route = await send("route", "another model", plain);
  note("route", "route", at(BASELINE, route.usage) - at(CHEAP, route.usage));

  const twin = await send("twin", "the same model elsewhere", plain);
  note("twin", "provider_switch", at(BASELINE, twin.usage) - at(TWIN, twin.usage));

  const shaky = await send("shaky", "the second answers", plain);
  assert.equal(shaky.answer.headers["x-tollgate-attempts"], "2");
  note("shaky", "route", at(BASELINE, shaky.usage) - at(BROKEN, shaky.usage));
  note("shaky", "failover", at(BROKEN, shaky.usage) - shaky.cost);
  assert.ok(expected.shaky.failover < 0);

  const broken = await send("broken", "the first is charged and breaks off", plain);
  assert.ok(broken.cost > at(CHEAP, broken.usage), "the attempt that broke off was charged");
  note("broken", "route", at(BASELINE, broken.usage) - at(CUT, broken.usage));
  note("broken", "failover", at(CUT, broken.usage) - broken.cost);

  await send("limited", "the one that the limit allows", plain).then(({ usage }) => note("limited", "route", at(BASELINE, usage) - at(CHEAP, usage)));
  const lower = await send("limited", "made smaller", plain);
  assert.equal(lower.answer.headers["x-tollgate-degraded"], "limit:few downgrade");
  note("limited", "route", at(BASELINE, lower.usage) - at(CHEAP, lower.usage));
  note("limited", "downgrade", at(CHEAP, lower.usage) - at(SMALL, lower.usage));

  const first = await send("dear", "asked twice");
  assert.equal(first.answer.headers["x-tollgate-cache"], "miss");
  const stored = { model: "dear", messages: [{ role: "user", content: "asked twice" }], max_tokens: 50 };
  const hit = await until("the answer is stored", async () => {
    const answer = await tenant.chat(stored, { headers: { "x-tollgate-cache": "only" } });
    return answer.status === 200 && answer;
  });
  const again = count(hit);
  assert.equal(again.cost, 0);
  note("dear", "cache", at(BASELINE, again.usage));

  const { spent_usd: budget } = await tenant.settled();
  const { data, totals } = await site.manage("GET", "/tenants/saver/savings");
  const told = Object.fromEntries(data.map(({ model, by_cause }) => [model, Object.fromEntries(Object.entries(by_cause).map(([cause, amount]) => [cause, signed(amount)]))]));
  assert.deepEqual(told, expected);
  assert.deepEqual([signed(totals.actual_usd), signed(totals.counterfactual_usd)], [spent, wouldHave]);
  assert.equal(signed(totals.actual_usd) + Object.values(totals.by_cause).reduce((sum, amount) => sum + signed(amount), 0), wouldHave);
  // The savings ledger, the budget and the usage counters tell of the same money.
  assert.equal(nano(budget), spent);
  const usage = await tenant.usage();
  assert.equal(usage.reduce((sum, row) => sum + signed(row.cost_usd), 0), spent);
});

test("a replay under the same document decides each request as it was, to the byte", async () => {
  const { config } = await site.manage("GET", "/tenants/saver");
  const replay = () => site.admin("POST", "/tenants/saver/replay", { config });
  const [one, other] = [await replay(), await replay()];
  assert.equal(one.text, other.text);
  const { requests, identical, moved, denied_before, denied_after } = one.json;
  assert.ok(requests >= 8, one.text);
  assert.deepEqual([identical, moved, denied_before, denied_after], [requests, 0, 0, 0]);
  // A price alone is another decision, though nothing moves.
  const dearer = { ...config, prices: { ...config.prices, [CHEAP]: price("0.332", "0.977") } };
  const changed = await site.manage("POST", "/tenants/saver/replay", { config: dearer });
  assert.ok(changed.identical < requests && changed.moved === 0, JSON.stringify(changed));
});

test("advice tells of each model what it would have cost elsewhere, with how the targets did in the period", async () => {
  const all = await site.manage("GET", "/tenants/saver/advice");
  assert.deepEqual(all.data.map((report) => report.model).sort(), ["broken", "dear", "limited", "route", "shaky", "twin"]);
  const shaky = all.data.find((report) => report.model === "shaky");
  assert.deepEqual([shaky.baseline, shaky.requests], [BASELINE, 1]);
  const of = (target) => shaky.data.find((row) => row.target === target);
  assert.deepEqual([of(BROKEN).period.attempts, of(BROKEN).period.failed, of(BROKEN).period.error_rate, of(BROKEN).period.mean_ms], [1, 1, 1, null]);
  assert.deepEqual([of(BASELINE).period.failed, of(BASELINE).period.error_rate], [0, 0]);
  assert.ok(of(BASELINE).period.attempts >= 3 && of(BASELINE).period.mean_ms >= 0);
  const one = await site.manage("GET", "/tenants/saver/advice?model=shaky");
  const { object, from, to, ...report } = one;
  assert.deepEqual(report, shaky);
  const before = await site.manage("GET", "/tenants/saver/advice?from=2026-01-01&to=2026-01-02");
  assert.deepEqual(before.data, []);
});
