import assert from "node:assert/strict";
import { test } from "node:test";
import { requestLine } from "../requests.mjs";

const at = new Date(2026, 0, 2, 3, 4, 5);

test("a request becomes one short line", () => {
  const entry = {
    method: "POST",
    path: "/v1/chat/completions",
    status: 200,
    provider: "simulated",
    model: "sim-small",
    input_tokens: 9,
    output_tokens: 40,
    cost_usd: "0.0000645",
    total_ms: 1012.4,
    overhead_ms: 0.42,
    cache: "miss",
  };
  assert.equal(
    requestLine(JSON.stringify(entry), at),
    "03:04:05  POST  /v1/chat/completions  200  simulated/sim-small  9+40 tokens  $0.0000645  1012 ms (0.4 ms here)",
  );
});

test("what is unknown is left out", () => {
  const entry = { method: "GET", path: "/v1/models", status: 401, code: "invalid_api_key", total_ms: 3 };
  assert.equal(requestLine(JSON.stringify(entry), at), "03:04:05  GET  /v1/models  401  3.0 ms  invalid_api_key");
});

test("other lines are not requests", () => {
  for (const line of ["", "plain text", "{broken", "{}", '{"level":"error","status":500}']) assert.equal(requestLine(line, at), null);
});
