// The form of a failure, as the contract has it.
import assert from "node:assert/strict";
import { SECRETS } from "./site.mjs";

const ULID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/;
const ON_THE_DATA_PLANE = ["x-tollgate-cache", "x-tollgate-attempts", "x-tollgate-overhead-ms", "server-timing"];

/**
 * @param {import("./call.mjs").Answer} answer
 * @param {object} expected
 * @param {number} expected.status
 * @param {string} expected.type
 * @param {string} expected.code
 * @param {string | null} [expected.param]
 * @param {boolean} [expected.retry]   whether it says when to come back
 * @param {string[]} [expected.more]   further fields of the error
 * @param {boolean} [expected.admin]   it is no answer of the data plane
 * @param {string[]} [secrets]         what must not be in it, beside the site's own
 * @returns the error
 */
export function assertFailure(answer, expected, secrets = []) {
  const { status, type, code, param = null, retry = false, more = [], admin = false } = expected;
  assert.equal(answer.status, status, answer.text);
  assert.equal(answer.headers["content-type"], "application/json");
  assert.match(answer.headers["x-request-id"], ULID);
  assert.equal(answer.headers["cache-control"], "private, no-store");
  for (const name of ON_THE_DATA_PLANE) assert.equal(name in answer.headers, !admin, name);
  assertRetry(answer.headers, retry);
  const body = JSON.parse(answer.text);
  assert.deepEqual(Object.keys(body), ["error"]);
  assertError(body.error, { type, code, param, more });
  assertNoSecret(JSON.stringify(answer.headers) + answer.text, secrets);
  return body.error;
}

/** The error itself, also where it stands in a stream. */
export function assertError(error, { type, code, param = null, more = [] }) {
  assert.deepEqual(Object.keys(error).sort(), ["code", "message", "param", "type", ...more].sort());
  assert.deepEqual([error.type, error.code, error.param], [type, code, param], error.message);
  assert.ok(typeof error.message === "string" && error.message.length > 10, error.message);
}

function assertRetry(headers, retry) {
  if (!retry) {
    assert.deepEqual([headers["retry-after"], headers["retry-after-ms"]], [undefined, undefined]);
    return;
  }
  assert.match(headers["retry-after"], /^[1-9]\d*$/);
  assert.match(headers["retry-after-ms"], /^[1-9]\d*$/);
  // Whole seconds, rounded up: who waits them out is let in.
  assert.equal(Number(headers["retry-after"]), Math.ceil(Number(headers["retry-after-ms"]) / 1000));
}

export function assertNoSecret(text, secrets = []) {
  for (const secret of [...Object.values(SECRETS), ...secrets]) {
    assert.ok(!text.includes(secret), `${secret} is in ${text}`);
  }
}

const refusal = (status, code, type = "invalid_request_error") => ({ status, type, code });
/** The contract's table, as far as these tests use it. */
export const FAILURES = {
  key: refusal(401, "invalid_api_key", "authentication_error"),
  operator: { ...refusal(401, "invalid_operator_token", "authentication_error"), admin: true },
  modelNotAllowed: { ...refusal(403, "model_not_allowed", "permission_error"), param: "model" },
  priceUnknown: refusal(403, "price_unknown", "permission_error"),
  modelNotFound: { ...refusal(404, "model_not_found"), param: "model" },
  noPath: refusal(404, "not_found"),
  method: refusal(405, "method_not_allowed"),
  json: refusal(400, "invalid_json"),
  field: (param) => ({ ...refusal(400, "invalid_request"), param }),
  tooLarge: refusal(413, "request_too_large"),
  encoding: refusal(415, "unsupported_encoding"),
  mediaType: refusal(415, "unsupported_media_type"),
  limit: { ...refusal(429, "rate_limit_exceeded", "rate_limit_error"), retry: true, more: ["limit", "window"] },
  budget: {
    ...refusal(402, "budget_exceeded", "insufficient_quota"),
    more: ["budget", "limit_usd", "spent_usd", "held_usd", "resets_at"],
  },
  maxCost: refusal(402, "max_cost_exceeded", "insufficient_quota"),
  idempotencyConflict: refusal(409, "idempotency_key_conflict"),
  idempotencyInProgress: { ...refusal(409, "idempotency_in_progress"), retry: true },
  overloaded: { ...refusal(503, "overloaded", "api_error"), retry: true },
  ledgerUnavailable: { ...refusal(503, "ledger_unavailable", "api_error"), retry: true },
  notCached: refusal(504, "not_cached"),
  upstream: { ...refusal(502, "upstream_error", "api_error"), more: ["attempts"] },
  timeout: refusal(504, "upstream_timeout", "timeout_error"),
  notConfigured: refusal(503, "not_configured", "api_error"),
};
