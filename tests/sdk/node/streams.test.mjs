import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { clientFor, collect, contentOf, DIRECT, MODEL, gateway, marker, user, wait } from "./environment.mjs";
import { ended } from "./journal.mjs";
import { withTenant } from "./tenants.mjs";

const client = clientFor();
const mark = marker();
const stream = (model, name, more = {}, options = {}) =>
  client.chat.completions.create({ model, messages: user(`${mark} ${name}`), stream: true, ...more }, options);

test("each chunk is here before the next is sent", async () => {
  const came = [];
  for await (const chunk of await stream("simulated/sim-t50-i300-n5", "paced")) {
    if (contentOf(chunk)) came.push(Date.now());
  }
  const { chunks_sent: sent } = await ended(`${mark} paced`);
  assert.deepEqual([came.length, sent.length], [5, 5]);
  for (let at = 0; at < 4; at += 1) {
    assert.ok(came[at] < sent[at + 1], `token ${at + 1} was held back: ${came} ${sent}`);
  }
});

test("a stream has the text of the whole answer", async () => {
  const headers = { "x-tollgate-cache": "skip" };
  const whole = await client.chat.completions.create({ model: MODEL, messages: user(`${mark} text`) }, { headers });
  const chunks = await collect(await stream(MODEL, "text", {}, { headers }));
  assert.equal(chunks.map(contentOf).join(""), whole.choices[0].message.content);
  assert.equal(chunks[0].choices[0].delta.role, "assistant");
  assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
});

test("no usage unless asked for", async () => {
  for (const more of [{}, { stream_options: { include_usage: false } }]) {
    const chunks = await collect(await stream(MODEL, `unasked ${JSON.stringify(more)}`, more));
    assert.ok(chunks.every((chunk) => chunk.choices.length === 1 && !chunk.usage));
  }
});

test("usage in the last chunk when asked for", async () => {
  const chunks = await collect(await stream(MODEL, "usage", { stream_options: { include_usage: true } }));
  const last = chunks.pop();
  assert.deepEqual(last.choices, []);
  assert.equal(last.usage.completion_tokens, 32);
  if (!DIRECT) assert.match(last.usage.cost_usd, /^0\.0\d+$/);
  assert.ok(chunks.every((chunk) => chunk.choices.length === 1 && chunk.usage === null));
});

test("the streaming helper", async () => {
  const runner = client.chat.completions.stream({
    model: MODEL, messages: user(`${mark} helper`), stream_options: { include_usage: true },
  });
  let text = "";
  runner.on("content", (delta) => { text += delta; });
  const final = await runner.finalChatCompletion();
  assert.equal(final.choices[0].message.content, text);
  assert.equal(final.usage.completion_tokens, 32);
});

for (const [name, abort] of [["leaving the loop", false], ["aborting the stream", true]]) {
  test(`${name} ends the stream at the provider`, async () => {
    const chunks = await stream("simulated/sim-i100-n100", name);
    let seen = 0;
    for await (const chunk of chunks) {
      if (contentOf(chunk)) seen += 1;
      if (seen < 3) continue;
      if (abort) chunks.controller.abort();
      break;
    }
    const left = Date.now();
    const entry = await ended(`${mark} ${name}`);
    assert.equal(entry.ended, "client_gone");
    assert.ok(entry.ended_at_ms - left < 1_000, `noticed after ${entry.ended_at_ms - left} ms`);
    assert.ok(entry.chunks_sent.length < 30);
  });
}

test("a signal ends the request at the provider before its first token", async () => {
  const controller = new AbortController();
  let tokens = 0;
  const reading = (async () => {
    for await (const _ of await stream("simulated/sim-t5000-early", "signal", {}, { signal: controller.signal })) tokens += 1;
  })();
  await wait(300);
  controller.abort();
  const aborted = Date.now();
  await reading.catch((error) => assert.ok(error instanceof OpenAI.APIUserAbortError));
  assert.equal(tokens, 0);
  const entry = await ended(`${mark} signal`);
  assert.equal(entry.ended, "client_gone");
  assert.ok(entry.ended_at_ms - aborted < 1_000);
});

test("a break in mid-stream is an error in the stream", gateway, async () => {
  let text = "";
  await assert.rejects(async () => {
    for await (const chunk of await stream(`simulated/sim-x3-i20-${mark}`, "break")) text += contentOf(chunk);
  }, (error) => {
    assert.ok(error instanceof OpenAI.APIError);
    assert.ok(!(error instanceof OpenAI.APIConnectionError), "the connection must end properly");
    assert.equal(error.code, "upstream_error");
    return true;
  });
  assert.notEqual(text, "");
});

test("a stream that goes on at another target is one stream", gateway, async () => {
  const targets = [`simulated/sim-x3-i5-${mark}`, `simulated-anthropic/sim-n6-${mark}`];
  const config = { models: { m: { targets } }, retry: { on_broken_stream: "continue" }, unknown_price: "allow_and_flag" };
  await withTenant(config, async ({ key }) => {
    const own = clientFor((await key()).key, { maxRetries: 0 });
    const runner = own.chat.completions.stream({
      model: "m", messages: user(`${mark} on`), stream_options: { include_usage: true },
    });
    let text = "";
    runner.on("content", (delta) => { text += delta; });
    const final = await runner.finalChatCompletion();
    assert.equal(final.choices[0].message.content, text);
    assert.deepEqual([final.choices[0].finish_reason, final.usage.completion_tokens], ["stop", 6]);
    assert.deepEqual(final.tollgate.continued, { from: targets[0], by: targets[1] });
  });
});
