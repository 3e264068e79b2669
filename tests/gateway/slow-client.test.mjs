// A client that stops reading: the provider waits for it, and is not blamed for its own silence meanwhile.
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { openSite } from "./site.mjs";

const IDLE_MS = 500;
const PAUSE_MS = 6 * IDLE_MS;
/** Far more than what lies in sockets and buffers on the way. */
const CHUNKS = 512;
const CHUNK = 64 * 1024;

const event = (delta, finish = null) =>
  `data: ${JSON.stringify({ id: "1", object: "chat.completion.chunk", created: 1, model: "m", choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`;

let site;
let provider;
/** The longest that the provider could not write, in milliseconds. */
let waited = 0;

before(async () => {
  provider = http.createServer(async (request, response) => {
    request.resume();
    response.writeHead(200, { "content-type": "text/event-stream" });
    const left = once(response, "close");
    for (let n = 0; n < CHUNKS && !response.destroyed; n++) {
      const since = Date.now();
      if (!response.write(event({ content: "x".repeat(CHUNK) }))) await Promise.race([new Promise((resolve) => response.once("drain", resolve)), left]);
      waited = Math.max(waited, Date.now() - since);
    }
    response.end(`${event({}, "stop")}data: [DONE]\n\n`);
  });
  await once(provider.listen(0, "127.0.0.1"), "listening");
  const url = `http://127.0.0.1:${provider.address().port}`;
  const price = { input_usd_per_mtok: "0.50", output_usd_per_mtok: "1.50" };
  site = await openSite({ providers: () => ({ large: { base_url: `${url}/v1`, auth: "none", default_price: price } }) });
  await site.restartAllowing(new URL(url).host);
});

after(async () => {
  provider?.closeAllConnections();
  provider?.close();
  if (site) await site.close();
});

test("a client that pauses for longer than a provider may be silent gets all of its stream", { timeout: 60_000 }, async () => {
  const tenant = await site.tenant("slow", { timeouts: { idle_ms: IDLE_MS } });
  const headers = { authorization: `Bearer ${tenant.key}`, "content-type": "application/json" };
  const request = http.request(`${site.url}/v1/chat/completions`, { method: "POST", headers, agent: false });
  request.end(JSON.stringify({ model: "large/m", stream: true, max_tokens: 10, messages: [{ role: "user", content: "Hello" }] }));
  const [response] = await once(request, "response");
  assert.equal(response.statusCode, 200);
  // Nothing is taken in until it is asked for.
  await sleep(PAUSE_MS);
  let text = "";
  for await (const piece of response.setEncoding("utf8")) text += piece;
  assert.ok(waited > 2 * IDLE_MS, `the provider waited ${waited} ms: the pause did not reach it`);
  assert.doesNotMatch(text, /"error"/);
  assert.ok(text.endsWith("data: [DONE]\n\n"), text.slice(-200));
  assert.equal(text.match(/"content"/g).length, CHUNKS);
  await tenant.settled();
  const { data } = await site.manage("GET", "/tenants/slow/providers");
  assert.deepEqual(data.find((row) => row.target === "large/m").seen.classes, { ok: 1 });
});
