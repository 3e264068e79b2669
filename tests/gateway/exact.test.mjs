// 64 clients, a limit of 100 or a budget for 100, and exactly 100 pass. Twenty times each.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ask, nano, openSite, usd } from "./site.mjs";

const RUNS = 20;
const CLIENTS = 64;
const BOUND = 100;
/** How often a client is refused before it gives up: what is free again would be found. */
const REFUSALS = 3;
const TOKENS = 9;
/** Input is free and every answer is as long as it may be: a request costs what it holds, to the last digit. */
const PRICES = { "simulated/*": { input_usd_per_mtok: "0", output_usd_per_mtok: "1.50" } };
const COST = TOKENS * 1500;

let site;

before(async () => {
  site = await openSite({ env: { TOLLGATE_LOG: "errors" } });
});

after(async () => {
  if (site) await site.close();
});

/** All clients ask, again and again, until they were refused. Resolves to how many answers had which status. */
async function crowd(tenant, model) {
  const counts = {};
  const client = async () => {
    for (let refused = 0; refused < REFUSALS; ) {
      const { status, error, text } = await tenant.chat(ask(model, { max_tokens: TOKENS }));
      assert.ok(error === null, `${error} ${text}`);
      counts[status] = (counts[status] ?? 0) + 1;
      if (status !== 200) refused += 1;
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  return counts;
}

const refusals = CLIENTS * REFUSALS;

test(`${CLIENTS} clients on a limit of ${BOUND}: exactly ${BOUND}, ${RUNS} times`, async () => {
  for (let run = 0; run < RUNS; run += 1) {
    const model = `sim-limit-${run}-l${run % 3}-n${TOKENS}`;
    const tenant = await site.tenant(`limit-${run}`, { limits: [{ id: "hundred", requests: BOUND, window_s: 3600 }], prices: PRICES });
    assert.deepEqual(await crowd(tenant, model), { 200: BOUND, 429: refusals });
    assert.equal((await site.journal({ model })).length, BOUND);
    const [{ used }] = (await tenant.get("/v1/usage")).json.limits;
    assert.equal(used, BOUND);
  }
});

test(`${CLIENTS} clients on a budget for ${BOUND}: exactly ${BOUND}, ${RUNS} times`, async () => {
  for (let run = 0; run < RUNS; run += 1) {
    const model = `sim-budget-${run}-l${run % 3}-n${TOKENS}`;
    const limit = BOUND * COST;
    // With odd runs there is a rest that is not enough for one more.
    const rest = (run % 2) * (COST - 1);
    const budgets = [{ id: "hundred", limit_usd: usd(limit + rest), period: "total" }];
    const tenant = await site.tenant(`budget-${run}`, { budgets, prices: PRICES });
    assert.deepEqual(await crowd(tenant, model), { 200: BOUND, 402: refusals });
    assert.equal((await site.journal({ model })).length, BOUND);
    assert.equal(nano((await tenant.settled()).spent_usd), limit);
  }
});
