import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { clientFor, countingClient, DIRECT, MODEL, gateway, marker, refusal, user, wait } from "./environment.mjs";
import { requestsWith } from "./journal.mjs";
import { withTenant } from "./tenants.mjs";

const client = clientFor();
const mark = marker();
const ask = (of, model, name, more = {}, options = {}) =>
  of.chat.completions.create({ model, messages: user(`${mark} ${name}`), ...more }, options);
const twoRequests = (window_s) => [{ id: "two", scope: "tenant", requests: 2, window_s }];

function assertRefused(error, kind, status, type, code) {
  assert.ok(error instanceof kind, `${error.constructor.name}: ${error.message}`);
  assert.deepEqual([error.status, error.type, error.code], [status, type, code]);
  assert.ok(error.error.message);
  assert.match(error.requestID ?? "", /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/);
}

test("a bad key", async () => {
  const error = await refusal(ask(clientFor("bad-key"), MODEL, "bad key"));
  assert.ok(error instanceof OpenAI.AuthenticationError);
  assert.equal(error.code, "invalid_api_key");
  if (!DIRECT) assertRefused(error, OpenAI.AuthenticationError, 401, "authentication_error", "invalid_api_key");
});

test("an unknown model", async () => {
  // An alias that nobody set; the provider itself answers 404 to this name.
  const error = await refusal(ask(client, "no-such-alias-e404", "unknown"));
  assert.ok(error instanceof OpenAI.NotFoundError);
  if (DIRECT) return;
  assertRefused(error, OpenAI.NotFoundError, 404, "invalid_request_error", "model_not_found");
  assert.deepEqual(await requestsWith(`${mark} unknown`), []);
});

test("a wrong field", async () => {
  const error = await refusal(client.chat.completions.create({ model: MODEL, messages: "not a list" }));
  assert.ok(error instanceof OpenAI.BadRequestError);
  assert.equal(error.param, "messages");
  if (!DIRECT) assertRefused(error, OpenAI.BadRequestError, 400, "invalid_request_error", "invalid_request");
});

test("a model that the key may not use", gateway, () => withTenant({}, async (own) => {
  const { key } = await own.key({ models: ["fast"] });
  assert.ok((await ask(clientFor(key), "fast", "allowed")).choices);
  const error = await refusal(ask(clientFor(key), "simulated/sim-large", "not allowed"));
  assertRefused(error, OpenAI.PermissionDeniedError, 403, "permission_error", "model_not_allowed");
}));

test("a rate limit", gateway, () => withTenant({ limits: twoRequests(60) }, async (own) => {
  const limited = clientFor((await own.key()).key, { maxRetries: 0 });
  for (const name of ["first", "second"]) await ask(limited, "fast", name);
  const error = await refusal(ask(limited, "fast", "third"));
  assertRefused(error, OpenAI.RateLimitError, 429, "rate_limit_error", "rate_limit_exceeded");
  const [seconds, milliseconds] = ["retry-after", "retry-after-ms"].map((name) => Number(error.headers.get(name)));
  assert.ok(milliseconds > 0 && milliseconds <= 61_000 /* the window and the slot it errs by */);
  assert.equal(seconds, Math.ceil(milliseconds / 1_000));
}));

const threeSeconds = { limits: twoRequests(3) };
test("the SDK waits as told and is then admitted", gateway, () => withTenant(threeSeconds, async (own) => {
  const { client: limited, answers } = countingClient((await own.key()).key);
  for (const name of ["one", "two"]) await ask(limited, "fast", `wait ${name}`);
  answers.length = 0;
  const begun = performance.now();
  await ask(limited, "fast", "wait three");
  const took = performance.now() - begun;
  assert.deepEqual(answers.map(({ status }) => status), [429, 200]);
  const told = Number(answers[0].headers.get("retry-after-ms"));
  assert.ok(told > 0 && took >= told - 2 && took < told + 2_000, `told ${told} ms, took ${took} ms`);
}));

test("a spent budget is not retried", gateway, () => {
  const budgets = [{ id: "tiny", scope: "tenant", limit_usd: "0.000001", period: "total" }];
  return withTenant({ budgets }, async (own) => {
    const { client: poor, answers } = countingClient((await own.key()).key);
    const error = await refusal(ask(poor, "fast", "budget", { max_tokens: 40 }));
    assertRefused(error, OpenAI.APIError, 402, "insufficient_quota", "budget_exceeded");
    assert.equal(answers.length, 1);
    assert.equal(answers[0].headers.get("retry-after"), null);
    assert.equal(error.error.budget, "tiny");
    for (const name of ["limit_usd", "spent_usd", "held_usd"]) assert.match(error.error[name], /^\d+(\.\d+)?$/);
    assert.deepEqual(await requestsWith(`${mark} budget`), []);
  });
});

// The models of the next tests have names of their own, so that a circuit breaker that one run opened does not
// answer the next run.
const once = clientFor(undefined, { maxRetries: 0 });
for (const stream of [false, true]) {
  test(`every target failed, stream ${stream}`, gateway, async () => {
    const error = await refusal(ask(once, `simulated/sim-e500-${marker()}`, "failed", { stream }));
    assertRefused(error, OpenAI.InternalServerError, 502, "api_error", "upstream_error");
    assert.ok("attempts" in error.error);
  });

  test(`the provider is too slow, stream ${stream}`, gateway, async () => {
    const begun = performance.now();
    const headers = { "x-tollgate-timeout-ms": "300" };
    const error = await refusal(ask(once, `simulated/hang-${marker()}`, `slow ${stream}`, { stream }, { headers }));
    const took = performance.now() - begun;
    assertRefused(error, OpenAI.InternalServerError, 504, "timeout_error", "upstream_timeout");
    assert.ok(took > 250 && took < 2_000, `${took} ms`);
    // The gateway does not leave the provider working for nobody.
    await wait(500);
    for (const entry of await requestsWith(`${mark} slow ${stream}`)) assert.equal(entry.ended, "client_gone");
  });
}
