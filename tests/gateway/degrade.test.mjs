// What happens when a limit or budget denies, where the tenant says what: an old answer, a cheaper model, a
// wait, fewer tokens. Each step is told in a header and counted.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { pause, until } from "./call.mjs";
import { assertFailure, FAILURES } from "./failure.mjs";
import { PRICE, ask, nano, openSite, usd, worstCase } from "./site.mjs";

const HOUR = { window_s: 3600 };
const total = (limit, more = {}) => ({ id: "all", limit_usd: usd(limit), period: "total", ...more });

let site;

before(async () => {
  site = await openSite();
});

after(async () => {
  if (site) await site.close();
});

/** How often the rows of …/violations count a rule. */
async function violations(tenant, rule) {
  const { data } = await site.manage("GET", `/tenants/${tenant.id}/violations`);
  return data.filter((row) => row.rule === rule).reduce((sum, row) => sum + row.count, 0);
}

test("a cheaper model is asked where the dear one's limit is used up", async () => {
  const limits = [{ id: "dear", scope: "model", only: ["simulated/sim-dear-l0"], requests: 2, ...HOUR, when_exceeded: [{ downgrade: "simulated/sim-cheap-l0" }] }];
  const tenant = await site.tenant("downgrade", { limits });
  for (let i = 0; i < 2; i += 1) {
    const { headers } = await tenant.chat(ask("sim-dear-l0"));
    assert.deepEqual([headers["x-tollgate-model"], headers["x-tollgate-degraded"]], ["sim-dear-l0", undefined]);
  }
  const answer = await tenant.chat(ask("sim-dear-l0"));
  assert.equal(answer.status, 200);
  assert.deepEqual([answer.headers["x-tollgate-model"], answer.headers["x-tollgate-degraded"]], ["sim-cheap-l0", "limit:dear downgrade"]);
  const [{ body }] = await site.journal({ model: "sim-cheap-l0" });
  assert.equal(body.model, "sim-cheap-l0");
  await tenant.settled();
  await until("the step is counted", async () => (await violations(tenant, "limit:dear downgrade")) === 1);
  assert.equal(await violations(tenant, "limit:dear"), 1);
});

test("who waits is let in when the window has moved on, and no sooner", async () => {
  const limits = [{ id: "rps", requests: 1, window_s: 1, when_exceeded: [{ wait_ms: 5000 }] }];
  const tenant = await site.tenant("waits", { limits });
  const answers = await Promise.all([0, 1, 2].map(() => tenant.chat(ask("sim-waits-l0"))));
  assert.deepEqual(answers.map(({ status }) => status), [200, 200, 200]);
  assert.equal(answers.filter(({ headers }) => headers["x-tollgate-degraded"] === "limit:rps wait").length, 2);
  const times = (await site.journal({ model: "sim-waits-l0" })).map(({ at_ms }) => at_ms).sort((a, b) => a - b);
  // Dispatch follows admission by moments.
  assert.ok(times[1] - times[0] > 900 && times[2] - times[1] > 900, `${times}`);
});

test("who has waited long enough is refused", async () => {
  const limits = [{ id: "rph", requests: 1, ...HOUR, when_exceeded: [{ wait_ms: 300 }, "reject"] }];
  const tenant = await site.tenant("waited", { limits });
  await tenant.chat(ask("sim-waited-l0"));
  const began = Date.now();
  const answer = await tenant.chat(ask("sim-waited-l0"));
  assertFailure(answer, FAILURES.limit);
  assert.ok(Date.now() - began >= 300);
});

test("an old answer is given, however old, and nothing is asked or charged", async () => {
  const cache = { enabled: true, ttl_s: 1 };
  const limits = [{ id: "rph", requests: 2, ...HOUR, when_exceeded: ["cache"] }];
  const tenant = await site.tenant("stale", { cache, limits });
  const body = ask("sim-stale-l0");
  const first = await tenant.chat(body);
  await until("it is stored", async () => (await tenant.chat(body)).headers["x-tollgate-cache"] === "hit");
  const { spent_usd: spent } = await tenant.settled();
  await pause(1100);
  const old = await tenant.chat(body);
  assert.deepEqual([old.status, old.text], [200, first.text]);
  assert.deepEqual([old.headers["x-tollgate-cache"], old.headers["x-tollgate-degraded"], old.headers["x-tollgate-cost-usd"]], ["hit", "limit:rph cache", "0"]);
  assert.equal((await site.journal({ model: "sim-stale-l0" })).length, 1);
  assert.equal((await tenant.settled()).spent_usd, spent);
  // Nothing of the kind is stored for this one.
  assertFailure(await tenant.chat(ask("sim-stale-l0", { seed: 7 })), FAILURES.limit);
});

test("max_tokens is lowered to what the budget has left, and the caller is told", async () => {
  const body = ask("sim-clamp-l0-n500", { max_tokens: 1000 });
  const input = worstCase(body) - 1000 * PRICE.output;
  const tenant = await site.tenant("clamp", { budgets: [total(input + 40 * PRICE.output + 7, { clamp_max_tokens: true })] });
  const answer = await tenant.chat(body);
  assert.equal(answer.status, 200);
  assert.deepEqual([answer.headers["x-tollgate-max-tokens"], answer.headers["x-tollgate-degraded"]], ["40", "budget:all clamp"]);
  const [{ body: sent }] = await site.journal({ model: "sim-clamp-l0-n500" });
  assert.equal(sent.max_tokens, 40);
  const { spent_usd: spent } = await tenant.settled();
  assert.ok(nano(spent) <= input + 40 * PRICE.output);
  assert.equal(JSON.parse(answer.text).usage.completion_tokens, 40);
  // Not enough for the input and a single token.
  const poor = await site.tenant("clamp-poor", { budgets: [total(input, { clamp_max_tokens: true })] });
  assert.equal((await poor.chat(body)).status, 402);
});

test("without a bound of its own the request gets one", async () => {
  const body = ask("sim-unbound-l0-n500", { max_tokens: undefined });
  const budget = Buffer.byteLength(JSON.stringify(body)) * PRICE.input + 25 * PRICE.output;
  const tenant = await site.tenant("unbound", { budgets: [total(budget, { clamp_max_tokens: true })] });
  const answer = await tenant.chat(body);
  assert.equal(answer.headers["x-tollgate-max-tokens"], "25");
  const [{ body: sent }] = await site.journal({ model: "sim-unbound-l0-n500" });
  assert.equal(sent.max_tokens, 25);
});

test("a rule in shadow mode only tells what it would have done", async () => {
  const limits = [{ id: "soon", requests: 1, ...HOUR, mode: "shadow" }];
  const tenant = await site.tenant("shadow", { limits });
  const answers = [await tenant.chat(ask("sim-shadow-l0")), await tenant.chat(ask("sim-shadow-l0"))];
  assert.deepEqual(answers.map(({ status, headers }) => [status, headers["x-tollgate-shadow"]]), [[200, undefined], [200, "limit:soon"]]);
  await tenant.settled();
  const { data } = await site.manage("GET", `/tenants/shadow/violations`);
  assert.deepEqual(data.map(({ rule, shadow, count }) => [rule, shadow, count]), [["limit:soon", true, 1]]);
});

test("limits on tokens, cost and requests at a time hold, and the token limit is told in OpenAI's headers", async () => {
  const body = ask("sim-tokens-l0");
  const most = Buffer.byteLength(JSON.stringify(body)) + 100;
  const tenant = await site.tenant("tokens", { limits: [{ id: "tpm", tokens: 2 * most - 1, window_s: 60 }] });
  const both = await Promise.all([tenant.chat(body), tenant.chat(body)]);
  assert.deepEqual(both.map(({ status }) => status).sort(), [200, 429]);
  const { headers } = both.find(({ status }) => status === 200);
  assert.equal(headers["x-ratelimit-limit-tokens"], `${2 * most - 1}`);
  assert.match(headers["x-ratelimit-remaining-tokens"], /^\d+$/);
  assert.match(headers["x-ratelimit-reset-tokens"], /^(\d+h)?(\d+m)?\d+(\.\d+)?(ms|s)$/);
  // Anthropic's clients say who they are, and are told in their words, too.
  assert.equal(headers["anthropic-ratelimit-tokens-limit"], undefined);
  await tenant.settled();
  const { headers: told } = await tenant.chat(body, { headers: { "anthropic-version": "2023-06-01" } });
  assert.deepEqual(
    [told["anthropic-ratelimit-tokens-limit"], told["anthropic-ratelimit-tokens-remaining"]],
    [told["x-ratelimit-limit-tokens"], told["x-ratelimit-remaining-tokens"]],
  );
  const reset = Date.parse(told["anthropic-ratelimit-tokens-reset"]) - Date.now();
  assert.match(told["anthropic-ratelimit-tokens-reset"], /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
  assert.ok(reset > 0 && reset <= 62_000, `${reset}`);
  await tenant.settled();
  // Settled, it counts what it used: now there is room.
  assert.equal((await tenant.chat(body)).status, 200);

  const busy = await site.tenant("busy", { limits: [{ id: "two", concurrency: 2 }] });
  const slow = Array.from({ length: 6 }, () => busy.chat(ask("sim-busy-l400")));
  const statuses = (await Promise.all(slow)).map(({ status }) => status);
  assert.deepEqual([statuses.filter((s) => s === 200).length, statuses.filter((s) => s === 429).length], [2, 4]);
  await busy.settled();
  assert.equal((await busy.chat(ask("sim-busy-l0"))).status, 200);
});

test("metadata and sessions have rules of their own", async () => {
  const limits = [{ id: "team", scope: "metadata:team", requests: 1, ...HOUR }];
  const cap = worstCase(ask("sim-meta-l0")) + 10;
  const permit = { session: { max_cost_usd: usd(cap), window_s: 3600 } };
  const tenant = await site.tenant("meta", { limits, permit });
  const as = (team, session) => tenant.chat(ask("sim-meta-l0"), {
    headers: { ...(team && { "x-tollgate-metadata": JSON.stringify({ team }) }), ...(session && { "x-tollgate-session": session }) },
  });
  assert.deepEqual([(await as("red")).status, (await as("blue")).status, (await as("red")).status, (await as()).status], [200, 200, 429, 200]);
  const both = await Promise.all([as(null, "s1"), as(null, "s1"), as(null, "s2")]);
  assert.deepEqual(both.map(({ status }) => status).sort(), [200, 200, 402]);
  assert.equal(JSON.parse(both.find(({ status }) => status === 402).text).error.code, "max_cost_exceeded");
  for (const bad of ["[]", '{"a":1}', '{"a":{"b":"c"}}', JSON.stringify(Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`k${i}`, "v"])))]) {
    const answer = await tenant.chat(ask("sim-meta-l0"), { headers: { "x-tollgate-metadata": bad } });
    assertFailure(answer, FAILURES.field("x-tollgate-metadata"));
  }
});
