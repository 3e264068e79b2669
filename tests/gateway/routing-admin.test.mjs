// What an operator is shown of routing, and what a caller may say of an answer.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { call } from "./call.mjs";
import { FAILURES, assertFailure } from "./failure.mjs";
import { ask, openSite } from "./site.mjs";

const ID = "01ARYZ6S41TSV4RRFFQ69G5FAV";
const DAY = 86_400_000;
const date = (ms) => new Date(ms).toISOString().slice(0, 10);

let site;
let tenant;

before(async () => {
  site = await openSite();
  tenant = await site.tenant("routed", {
    models: { fast: { targets: ["simulated/sim-small", "simulated/sim-l0", "groq/llama-3.3-70b-versatile"] } },
  });
});

after(async () => {
  if (site) await site.close();
});

/** Says something of an answer. */
function feedback(body, { key = tenant.key, ...headers } = {}) {
  const all = { authorization: `Bearer ${key}`, "content-type": "application/json", ...headers };
  return call(`${site.url}/v1/feedback`, { method: "POST", headers: all, body });
}

const of = (id) => `/tenants/${id}`;
const wrong = async (method, route, param, words, body) => {
  const error = assertFailure(await site.admin(method, route, body), { ...FAILURES.field(param), admin: true });
  assert.match(error.message, words);
};

describe("before there was any traffic", () => {
  let quiet;
  before(async () => {
    quiet = await site.tenant("quiet", { models: { fast: { targets: ["simulated/sim-small", "groq/llama-3.3-70b-versatile"] } } });
  });

  test("nothing is known of targets, and which providers have a key is", async () => {
    const { data, providers } = await site.manage("GET", `${of(quiet.id)}/providers`);
    assert.deepEqual(data, []);
    const state = Object.fromEntries(providers.map(({ provider, ...more }) => [provider, more]));
    const { health, ...simulated } = state.simulated;
    assert.deepEqual(simulated, { configured: true, keys: "operator", dead_keys: [] });
    assert.deepEqual([health.state, health.why], ["unchecked", "checks are switched off (TOLLGATE_HEALTH_INTERVAL_S)"]);
    assert.deepEqual(state.groq, { configured: false, keys: "operator", dead_keys: [], health: null });
    assert.equal(state.mistral, undefined);
  });

  test("nothing is saved, in the last 30 days or any other", async () => {
    const nothing = { actual_usd: "0", counterfactual_usd: "0", saved_usd: "0", by_cause: {}, requests: 0, input_tokens: 0, cached_input_tokens: 0, output_tokens: 0 };
    const all = await site.manage("GET", `${of(quiet.id)}/savings`);
    const today = Date.now();
    assert.ok([date(today), date(today - 1_000)].includes(all.to), all.to);
    assert.equal(all.from, date(Date.parse(all.to) - 29 * DAY));
    assert.deepEqual([all.data, all.totals, all.truncated], [[], nothing, false]);
    const some = await site.manage("GET", `${of(quiet.id)}/savings?from=2026-01-31&to=2026-02-01T12:00:00Z`);
    assert.deepEqual([some.from, some.to], ["2026-01-31", "2026-02-01"]);
  });

  test("nothing is recorded, and a replay of nothing changes nothing", async () => {
    assert.deepEqual(await site.manage("GET", `${of(quiet.id)}/requests`), { object: "list", data: [], next_cursor: null });
    assertFailure(await site.admin("GET", `${of(quiet.id)}/requests/${ID}`), { ...FAILURES.noPath, admin: true });
    const before = await site.manage("GET", of(quiet.id));
    const replayed = await site.manage("POST", `${of(quiet.id)}/replay`, { config: { models: {} }, from: "2026-01-31", limit: 10_000 });
    assert.deepEqual(replayed, {
      object: "replay", requests: 0, identical: 0, moved: 0, denied_before: 0, denied_after: 0, cost_before_usd: "0", cost_after_usd: "0", saved_usd: "0",
      changes: [], changes_not_listed: 0, next_cursor: null,
    });
    assert.deepEqual(await site.manage("GET", of(quiet.id)), before);
  });

  test("advice names the targets with nothing to compare", async () => {
    const advice = await site.manage("GET", `${of(tenant.id)}/advice?model=fast&target=openai/gpt-4o-mini&target=openai%2Fgpt-4o`);
    assert.deepEqual([advice.model, advice.baseline, advice.requests, advice.actual_usd], ["fast", null, 0, "0"]);
    const names = advice.data.map((row) => row.target).sort();
    assert.deepEqual(names, ["groq/llama-3.3-70b-versatile", "openai/gpt-4o", "openai/gpt-4o-mini", "simulated/sim-l0", "simulated/sim-small"]);
    const [row] = advice.data;
    assert.deepEqual([row.cost_usd, row.saves_usd, row.observed, row.error_rate, row.quality], ["0", "0", false, null, 0.5]);
    assert.deepEqual(row.period, { attempts: 0, failed: 0, error_rate: null, mean_ms: null });
    assert.deepEqual((await site.manage("GET", `${of(quiet.id)}/advice`)).data, []);
  });
});

test("what is wrong with a question is told by its parameter", async () => {
  const routed = of(tenant.id);
  await wrong("GET", `${routed}/savings?from=yesterday`, "from", /is a day such as/);
  await wrong("GET", `${routed}/savings?to=2026-13-01`, "to", /is a day such as/);
  await wrong("GET", `${routed}/savings?from=2026-02-02&to=2026-02-01`, "from", /after `to`/);
  await wrong("GET", `${routed}/requests?limit=0`, "limit", /between 1 and 199/);
  await wrong("GET", `${routed}/requests?limit=200`, "limit", /between 1 and 199/);
  await wrong("GET", `${routed}/requests?cursor=${"x".repeat(65)}`, "cursor", /next_cursor/);
  await wrong("GET", `${routed}/advice?model=slow`, "model", /no model `slow`/);
  await wrong("GET", `${routed}/advice?model=fast&target=fast`, "target", /provider\/model/);
  await wrong("GET", `${routed}/advice?model=fast&target=nobody/x`, "target", /no provider `nobody`/);
  await wrong("POST", `${routed}/replay`, null, /must be a JSON object/, []);
  await wrong("POST", `${routed}/replay`, "limit", /between 1 and 10000/, { config: {}, limit: 10_001 });
  await wrong("POST", `${routed}/replay`, "from", /is a day such as/, { config: {}, from: "soon" });
  await wrong("POST", `${routed}/replay`, "days", /unknown field/, { config: {}, days: 3 });
  // The document is judged as when it is stored.
  await wrong("POST", `${routed}/replay`, "limits[0].burst", /not between/, {
    config: { limits: [{ id: "a", tokens: 1, window_s: 1, algorithm: "token_bucket", burst: 0 }] },
  });
  await wrong("POST", `${routed}/replay`, "models.a.targets[1]", /./, { config: { models: { a: { targets: ["p/x", "p/x"] } } } });
});

test("tenants, methods and tokens are asked for as everywhere", async () => {
  for (const page of ["providers", "savings", "requests", `requests/${ID}`, "advice?model=a"]) {
    assertFailure(await site.admin("GET", `/tenants/nobody/${page}`), { ...FAILURES.noPath, admin: true });
    const [name] = page.split("?");
    const answer = await site.admin("POST", `/tenants/routed/${name}`, {});
    assertFailure(answer, { ...FAILURES.method, admin: true });
    assert.equal(answer.headers.allow, "GET");
    assertFailure(await site.admin("GET", `/tenants/routed/${page}`, undefined, { authorization: "Bearer x" }), FAILURES.operator);
  }
  assertFailure(await site.admin("POST", "/tenants/nobody/replay", { config: {} }), { ...FAILURES.noPath, admin: true });
  assert.equal((await site.admin("GET", "/tenants/routed/replay")).headers.allow, "POST");
});

describe("feedback", () => {
  const target = "simulated/sim-small";

  test("needs a key that works before anything else is told", async () => {
    const unknown = tenant.key.replace(/.{6}$/, "000000");
    for (const key of ["", unknown, "tg_routed_x"]) assertFailure(await feedback({}, { key }), FAILURES.key);
    const revoked = await tenant.newKey();
    await site.manage("DELETE", `/tenants/routed/keys/${revoked.id}`);
    assertFailure(await feedback({ nonsense: 1 }, { key: revoked.key }), FAILURES.key);
    const answer = await tenant.get("/v1/feedback");
    assertFailure(answer, FAILURES.method);
    assert.equal(answer.headers.allow, "POST");
  });

  test("is refused with the field that is wrong", async () => {
    for (const [body, param] of [
      [{ score: 1, target }, ""],
      [{ request_id: ID, target }, ""],
      [{ request_id: ID, score: 1.01, target }, "score"],
      [{ request_id: ID, score: -0.1, target }, "score"],
      [{ request_id: ID, score: "1", target }, "score"],
      [{ request_id: "chatcmpl-1", score: 1, target }, "request_id"],
      [{ request_id: 7, score: 1, target }, "request_id"],
      [{ request_id: ID, score: 1, target: "fast" }, "target"],
      [{ request_id: ID, score: 1, target: "openai/gpt-4o" }, "target"],
      [{ request_id: ID, score: 1, stars: 5 }, "stars"],
    ]) {
      assertFailure(await feedback(body), FAILURES.field(param || null));
    }
    assertFailure(await feedback("{", {}), FAILURES.json);
    assertFailure(await feedback({ request_id: ID, score: 1, target: "x".repeat(5_000) }), FAILURES.tooLarge);
    assertFailure(await feedback("a=1", { "content-type": "text/plain" }), FAILURES.mediaType);
  });

  test("without a target asks for it where the decision is not kept", async () => {
    const error = assertFailure(await feedback({ request_id: ID, score: 1 }), FAILURES.field("target"));
    assert.match(error.message, /x-tollgate-provider and x-tollgate-model/);
  });

  test("moves the target's quality once for each request", async () => {
    const answer = await tenant.chat(ask("sim-small"));
    const body = { request_id: answer.headers["x-request-id"], score: 0.25, target };
    const { [0]: first, length } = await Promise.all([feedback(body), feedback(body), feedback({ ...body, score: 1 })]);
    assert.deepEqual([first.status, JSON.parse(first.text), length], [200, { object: "feedback", ...body }, 3]);
    await tenant.settled();
    const known = async () => (await site.manage("GET", "/tenants/routed/providers")).data.find((row) => row.target === target);
    const { feedback: once, seen, breaker, provider, model } = await known();
    assert.ok(once !== 0 && Math.abs(once) <= 0.2, once);
    assert.deepEqual([provider, model, breaker.state, seen.error_rate, seen.classes], ["simulated", "sim-small", "closed", 0, { ok: 1 }]);
    assert.match(seen.cost_usd_per_mtok, /^\d+(\.\d+)?$/);
    await feedback(body);
    assert.equal((await known()).feedback, once);
  });
});
