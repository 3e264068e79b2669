// What Anthropic's SDK makes of the gateway's errors: its own types, and its own patience.

import assert from "node:assert/strict";
import { test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { anthropicFor, collect, gateway, marker, refusal, user } from "./environment.mjs";
import { requestsWith } from "./journal.mjs";
import { withTenant } from "./tenants.mjs";

const client = anthropicFor(undefined, { maxRetries: 0 });
const ask = (of, model, mark, more = {}, options = {}) =>
  of.messages.create({ model, max_tokens: 40, messages: user(mark), ...more }, options);
const twoRequests = (window_s) => ({ limits: [{ id: "two", scope: "tenant", requests: 2, window_s }] });

function assertRefused(error, kind, status, type, code) {
  assert.ok(error instanceof kind, `${error.constructor.name}: ${error.message}`);
  assert.deepEqual([error.status, error.type, error.error.error.code], [status, type, code]);
  assert.equal(error.error.type, "error");
  assert.match(error.error.request_id, /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/);
  assert.equal(error.headers.get("x-request-id"), error.error.request_id);
}

/** A client that counts its attempts. */
function counting(key) {
  const answers = [];
  const patient = anthropicFor(key, {
    fetch: async (url, init) => {
      const answer = await fetch(url, init);
      answers.push(answer);
      return answer;
    },
  });
  return { patient, answers };
}

test("a bad key", gateway, async () => {
  const error = await refusal(ask(anthropicFor("bad-key"), "simulated-anthropic/sim", marker()));
  assertRefused(error, Anthropic.AuthenticationError, 401, "authentication_error", "invalid_api_key");
});

test("a key in the header of older SDKs", gateway, async () => {
  const defaultHeaders = { authorization: null, "x-api-key": process.env.TOLLGATE_KEY };
  const older = anthropicFor("unused", { defaultHeaders });
  assert.ok((await ask(older, "simulated-anthropic/sim-t1", marker())).content);
});

test("an unknown model", gateway, async () => {
  const error = await refusal(ask(client, "no-such-alias", marker()));
  assertRefused(error, Anthropic.NotFoundError, 404, "not_found_error", "model_not_found");
});

test("wrong fields", gateway, async () => {
  for (const more of [{ messages: "not a list" }, { messages: [] }]) {
    for (const provider of ["simulated", "simulated-anthropic"]) {
      const error = await refusal(ask(client, `${provider}/sim`, marker(), more));
      assert.ok(error instanceof Anthropic.BadRequestError, `${provider} ${JSON.stringify(more)}`);
      assert.equal(error.type, "invalid_request_error");
    }
  }
});

test("what the provider refuses keeps its words", gateway, async () => {
  const wrong = { tools: [{ name: "not a name", input_schema: { type: "object" } }] };
  const error = await refusal(ask(client, "simulated-anthropic/sim", marker(), wrong));
  assert.ok(error instanceof Anthropic.BadRequestError);
  assert.match(error.message, /String should match pattern/);
});

test("a model that the key may not use", gateway, () =>
  withTenant({}, async (own) => {
    const { key } = await own.key({ models: ["fast"] });
    assert.ok((await ask(anthropicFor(key), "fast", marker())).content);
    const error = await refusal(ask(anthropicFor(key), "simulated-anthropic/sim", marker()));
    assertRefused(error, Anthropic.PermissionDeniedError, 403, "permission_error", "model_not_allowed");
  }),
);

test("a rate limit, and the headers that Anthropic has for it", gateway, () =>
  withTenant(twoRequests(60), async (own) => {
    const limited = anthropicFor((await own.key()).key, { maxRetries: 0 });
    const { response } = await ask(limited, "fast", marker()).withResponse();
    assert.equal(response.headers.get("anthropic-ratelimit-requests-limit"), "2");
    assert.equal(response.headers.get("anthropic-ratelimit-requests-remaining"), "1");
    assert.ok(Date.parse(response.headers.get("anthropic-ratelimit-requests-reset")) > Date.now());
    await ask(limited, "fast", marker());
    const error = await refusal(ask(limited, "fast", marker()));
    assertRefused(error, Anthropic.RateLimitError, 429, "rate_limit_error", "rate_limit_exceeded");
    assert.ok(Number(error.headers.get("retry-after")) > 0);
  }),
);

test("the SDK waits as told and is then admitted", gateway, () =>
  withTenant(twoRequests(2), async (own) => {
    const { patient, answers } = counting((await own.key()).key);
    for (let count = 0; count < 2; count += 1) await ask(patient, "fast", marker());
    answers.length = 0;
    const begun = performance.now();
    assert.ok((await ask(patient, "fast", marker())).content);
    assert.deepEqual(
      answers.map(({ status }) => status),
      [429, 200],
    );
    const told = Number(answers[0].headers.get("retry-after-ms"));
    assert.ok(told > 0 && performance.now() - begun >= told - 2);
  }),
);

test("a spent budget is not retried", gateway, () => {
  const budgets = [{ id: "tiny", scope: "tenant", limit_usd: "0.000001", period: "total" }];
  return withTenant({ budgets }, async (own) => {
    const { patient, answers } = counting((await own.key()).key);
    const mark = marker();
    const error = await refusal(ask(patient, "fast", mark));
    assert.deepEqual([error.status, error.error.error.code, answers.length], [402, "budget_exceeded", 1]);
    assert.deepEqual(await requestsWith(mark), []);
  });
});

for (const provider of ["simulated", "simulated-anthropic", "simulated-gemini", "simulated-bedrock"]) {
  test(`${provider}: a provider that fails, before and in its stream`, gateway, async () => {
    for (const stream of [false, true]) {
      const error = await refusal(ask(client, `${provider}/sim-e500-${marker()}`, marker(), { stream }));
      assertRefused(error, Anthropic.InternalServerError, 502, "api_error", "upstream_error");
    }
    // A stream that the provider ends with an error, and one that it cuts.
    for (const fault of provider === "simulated-anthropic" ? ["o3"] : ["o3", "x3", "half"]) {
      const stream = await ask(client, `${provider}/sim-t1-i5-${fault}-${marker()}`, marker(), { stream: true });
      const error = await refusal(collect(stream));
      assert.ok(error instanceof Anthropic.APIError, `${fault}: ${error.message}`);
      assert.ok(!(error instanceof Anthropic.APIConnectionError), fault);
    }
  });
}

test("a provider that is too slow", gateway, async () => {
  const headers = { "x-tollgate-timeout-ms": "300" };
  const error = await refusal(ask(client, `simulated-gemini/hang-${marker()}`, marker(), {}, { headers }));
  assertRefused(error, Anthropic.InternalServerError, 504, "timeout_error", "upstream_timeout");
});
