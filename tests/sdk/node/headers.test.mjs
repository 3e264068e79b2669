// The headers that every data-plane answer carries. Only the gateway sends them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { clientFor, collect, FAST, gateway, marker, user } from "./environment.mjs";
import { withTenant } from "./tenants.mjs";

const client = clientFor();
const mark = marker();
const ULID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/;
const WHOLE = /^\d+$/;
const SHAPES = {
  "x-request-id": ULID,
  "x-tollgate-cache": /^(hit|miss|coalesced|bypass|refresh)$/,
  "x-tollgate-provider": /^simulated$/,
  "x-tollgate-model": /^(simulated\/)?sim-small[a-z0-9-]*$/,
  "x-tollgate-attempts": /^1$/,
  "x-tollgate-route": /./,
  "x-tollgate-overhead-ms": /^\d+(\.\d+)?$/,
  "server-timing": /dur=[\d.]+/,
  "x-ratelimit-limit-requests": WHOLE,
  "x-ratelimit-remaining-requests": WHOLE,
  // As OpenAI writes a wait: 6ms, 1.5s, 1m26.4s, 7h12m0s.
  "x-ratelimit-reset-requests": /^(?=.)(\d+h)?(\d+m)?(\d+(\.\d+)?s)?(\d+(\.\d+)?ms)?$/,
};

function assertHeaders(headers, shapes) {
  for (const [name, shape] of Object.entries(shapes)) assert.match(headers.get(name) ?? "", shape, name);
}

test("whole answer", gateway, async () => {
  const { data, response, request_id: id } =
    await client.chat.completions.create({ model: FAST, messages: user(`${mark} whole`) }).withResponse();
  assertHeaders(response.headers, { ...SHAPES, "x-tollgate-cost-usd": /^\d+(\.\d+)?$/ });
  assert.ok(data.choices[0].message.content);
  assert.match(id, ULID);
  assert.equal(response.headers.get("set-cookie"), null);
});

test("stream", gateway, async () => {
  const { data, response } = await client.chat.completions
    .create({ model: FAST, messages: user(`${mark} stream`), stream: true }).withResponse();
  assertHeaders(response.headers, SHAPES);
  assert.match(response.headers.get("content-type"), /^text\/event-stream/);
  await collect(data);
});

test("the client's own id comes back", gateway, async () => {
  const { response } = await client.chat.completions
    .create({ model: FAST, messages: user(`${mark} id`) }, { headers: { "X-Client-Request-Id": mark } }).withResponse();
  assert.equal(response.headers.get("x-client-request-id"), mark);
  assert.match(response.headers.get("x-request-id"), ULID);
});

test("the request limit counts down", gateway, () => {
  const limits = [{ id: "rpm", scope: "tenant", requests: 50, window_s: 60 }];
  return withTenant({ limits }, async (own) => {
    const client = clientFor((await own.key()).key);
    for (const left of ["49", "48"]) {
      const { response } = await client.chat.completions
        .create({ model: "fast", messages: user(`${mark} ${left}`) }).withResponse();
      assert.equal(response.headers.get("x-ratelimit-limit-requests"), "50");
      assert.equal(response.headers.get("x-ratelimit-remaining-requests"), left);
    }
  });
});
