// The simulated provider itself: its wire format, its faults and its journal.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { eventsOf, exchange, startSimulator } from "./start.mjs";

const user = (content = "How far is the harbour?") => ({ role: "user", content });
const ask = (model, more = {}) => ({ model, messages: [user()], ...more });
const stream = (model, more = {}) => ask(model, { stream: true, ...more });
const textOf = (events) => events.map((event) => event.choices?.[0]?.delta.content ?? "").join("");

let simulator;
before(async () => {
  simulator = await startSimulator("--ttft-ms", "2", "--itl-ms", "1", "--tokens", "12");
});
after(() => simulator.stop());
const call = (body, options) => exchange(simulator.url, body, options);
const json = async (body, options) => JSON.parse((await call(body, options)).text);

test("a whole answer has OpenAI's shape and counts its tokens", async () => {
  const { status, headers, text } = await call(ask("sim-n7"));
  assert.equal(status, 200);
  assert.match(headers["content-type"], /^application\/json/);
  const body = JSON.parse(text);
  assert.equal(body.object, "chat.completion");
  assert.equal(body.model, "sim-n7");
  assert.equal(body.choices[0].finish_reason, "stop");
  assert.equal(body.choices[0].message.content.split(" ").length, 7);
  assert.deepEqual([body.usage.prompt_tokens, body.usage.completion_tokens, body.usage.total_tokens], [12, 7, 19]);
});

test("the same request gets the same answer, another prompt another one", async () => {
  const first = await call(ask("sim"));
  assert.equal((await call(ask("sim"))).text, first.text);
  assert.notEqual((await json({ model: "sim", messages: [user("Other")] })).id, JSON.parse(first.text).id);
});

test("a stream carries the text of the whole answer", async () => {
  const whole = await json(ask("sim"));
  const { headers, text } = await call(stream("sim"));
  assert.match(headers["content-type"], /^text\/event-stream/);
  const events = eventsOf(text);
  assert.equal(events.at(-1), "[DONE]");
  assert.deepEqual(events[0].choices[0].delta, { role: "assistant", content: "", refusal: null });
  assert.equal(events.at(-2).choices[0].finish_reason, "stop");
  assert.equal(textOf(events), whole.choices[0].message.content);
});

test("usage is in a stream only when asked for, and then as OpenAI sends it", async () => {
  const without = eventsOf((await call(stream("sim"))).text).slice(0, -1);
  assert.ok(without.every((event) => !("usage" in event) && event.choices.length === 1));
  const events = eventsOf((await call(stream("sim", { stream_options: { include_usage: true } }))).text).slice(0, -1);
  const last = events.pop();
  assert.deepEqual(last.choices, []);
  assert.equal(last.usage.completion_tokens, 12);
  assert.ok(events.every((event) => event.usage === null && event.choices.length === 1));
});

test("tokens are sent at their times", async () => {
  const { chunks } = await call(stream("sim-paced-t120-i60-n4"));
  const { at_ms: begun, chunks_sent: sent, ended } = await simulator.ended("sim-paced-t120-i60-n4");
  assert.equal(ended, "done");
  assert.equal(sent.length, 4);
  assert.ok(sent[0] - begun >= 115, `first token after ${sent[0] - begun} ms`);
  assert.ok(sent[3] - sent[0] >= 170, `last token ${sent[3] - sent[0]} ms later`);
  assert.ok(chunks[0].at < sent[1], "the first token is here before the second is sent");
});

test("a whole answer takes l, or as long as its stream", async () => {
  assert.ok((await call(ask("sim-l80"))).ms >= 75);
  assert.ok((await call(ask("sim-t20-i30-n3"))).ms >= 75);
  assert.ok((await call(ask("sim-t5000-l0"))).ms < 2_000);
});

test("max_tokens, max_completion_tokens, stop and n", async () => {
  for (const name of ["max_tokens", "max_completion_tokens"]) {
    const body = await json(ask("sim", { [name]: 5 }));
    assert.equal(body.choices[0].finish_reason, "length");
    assert.equal(body.usage.completion_tokens, 5);
  }
  const { content } = (await json(ask("sim"))).choices[0].message;
  const word = content.split(" ")[4];
  const stopped = await json(ask("sim", { stop: [word] }));
  assert.equal(stopped.choices[0].finish_reason, "stop");
  assert.equal(stopped.choices[0].message.content, content.slice(0, content.indexOf(word)));

  const three = await json(ask("sim", { n: 3 }));
  assert.deepEqual(three.choices.map(({ index }) => index), [0, 1, 2]);
  assert.equal(new Set(three.choices.map(({ message }) => message.content)).size, 3);
  assert.equal(three.usage.completion_tokens, 36);
  const events = eventsOf((await call(stream("sim", { n: 3 }))).text).slice(0, -1);
  const last = events.filter((event) => event.choices[0].index === 2);
  assert.equal(last.map((event) => event.choices[0].delta.content ?? "").join(""), three.choices[2].message.content);
});

const weather = {
  type: "function",
  function: {
    name: "weather",
    parameters: {
      type: "object", required: ["city", "days"], additionalProperties: false,
      properties: {
        city: { type: "string" }, days: { type: "integer", minimum: 2, maximum: 5 }, unit: { enum: ["C", "F"] },
      },
    },
  },
};

test("tools are called after the user's message and answered in text after their result", async () => {
  const first = await json(ask("sim", { tools: [weather] }));
  assert.equal(first.choices[0].finish_reason, "tool_calls");
  const { message } = first.choices[0];
  assert.equal(message.content, null);
  const args = JSON.parse(message.tool_calls[0].function.arguments);
  assert.deepEqual([typeof args.city, args.days, args.unit], ["string", 2, "C"]);
  const result = { role: "tool", tool_call_id: message.tool_calls[0].id, content: "12 degrees" };
  const second = await json({ model: "sim", tools: [weather], messages: [user(), message, result] });
  assert.equal(second.choices[0].finish_reason, "stop");
  assert.ok(second.choices[0].message.content.length > 0);
  assert.equal((await json(ask("sim", { tools: [weather], tool_choice: "none" }))).choices[0].finish_reason, "stop");
});

test("streamed tool arguments come in several pieces", async () => {
  const whole = await json(ask("sim-p2", { tools: [weather] }));
  const events = eventsOf((await call(stream("sim-p2", { tools: [weather] }))).text).slice(0, -1);
  const calls = [];
  let pieces = 0;
  for (const piece of events.flatMap((event) => event.choices[0].delta.tool_calls ?? [])) {
    calls[piece.index] ??= { id: piece.id, name: piece.function.name, text: "" };
    calls[piece.index].text += piece.function.arguments;
    if (piece.function.arguments !== "") pieces += 1;
  }
  assert.ok(pieces > 4);
  assert.deepEqual(calls.map(({ id, name, text }) => [id, name, text]),
    whole.choices[0].message.tool_calls.map((one) => [one.id, one.function.name, one.function.arguments]));
});

test("json_object and json_schema are answered with JSON that fits", async () => {
  const object = await json(ask("sim", { response_format: { type: "json_object" } }));
  assert.equal(typeof JSON.parse(object.choices[0].message.content).answer, "string");
  const schema = {
    $defs: {
      node: {
        type: "object", required: ["name", "next"],
        properties: { name: { type: "string" }, next: { anyOf: [{ $ref: "#/$defs/node" }, { type: "null" }] } },
      },
    },
    type: "object", required: ["kind", "list", "at", "tree"],
    properties: {
      kind: { enum: ["x", "y"] }, list: { type: "array", items: { type: "number", exclusiveMinimum: 3 }, minItems: 2 },
      at: { type: ["string", "null"], format: "date-time" }, tree: { $ref: "#/$defs/node" },
      both: { allOf: [{ properties: { a: { const: 7 } } }] },
    },
  };
  const format = { type: "json_schema", json_schema: { name: "thing", strict: true, schema } };
  const value = JSON.parse((await json(ask("sim", { response_format: format }))).choices[0].message.content);
  assert.equal(value.kind, "x");
  assert.ok(value.list.length === 2 && value.list.every((number) => number > 3));
  assert.ok(!Number.isNaN(Date.parse(value.at)));
  assert.equal(value.both.a, 7);
  let depth = 0;
  for (let node = value.tree; node !== null; node = node.next) depth += 1;
  assert.ok(depth > 1 && depth < 20);
});

test("embeddings as numbers and as base64", async () => {
  const path = "/v1/embeddings";
  const body = await json({ model: "sim-embed", input: ["one", "two"], dimensions: 8 }, { path });
  assert.deepEqual(body.data.map(({ index, embedding }) => [index, embedding.length]), [[0, 8], [1, 8]]);
  assert.ok(Math.abs(Math.hypot(...body.data[0].embedding) - 1) < 1e-5);
  assert.equal(body.usage.prompt_tokens, 2);
  const packed = await json({ model: "sim-embed", input: "one", dimensions: 8, encoding_format: "base64" }, { path });
  const bytes = Buffer.from(packed.data[0].embedding, "base64");
  assert.deepEqual(Array.from({ length: 8 }, (_, at) => bytes.readFloatLE(at * 4)), body.data[0].embedding);
  assert.equal((await call({ model: "sim-embed", input: [] }, { path })).status, 400);
});

test("models", async () => {
  const list = await json(undefined, { method: "GET", path: "/v1/models" });
  assert.ok(list.data.some(({ id, object }) => id === "sim-small" && object === "model"));
  const one = await json(undefined, { method: "GET", path: "/v1/models/simulated%2Fsim-small" });
  assert.equal(one.id, "simulated/sim-small");
  const missing = await call(undefined, { method: "GET", path: "/v1/models/nothing" });
  assert.equal(missing.status, 404);
  assert.equal(JSON.parse(missing.text).error.code, "model_not_found");
});

test("refusals have OpenAI's shape", async () => {
  const cases = [
    [ask("sim"), { key: null }, 401, null],
    [ask("sim"), { key: "bad-key" }, 401, "invalid_api_key"],
    ["{", {}, 400, null],
    [{ messages: [user()] }, {}, 400, null],
    [{ model: "sim" }, {}, 400, "missing_required_parameter"],
    [{ model: "sim", messages: "x" }, {}, 400, "invalid_type"],
    [ask("sim", { temperature: 3 }), {}, 400, "decimal_out_of_range"],
    [ask("sim-e404"), {}, 404, "model_not_found"],
    [stream("sim-e429"), {}, 429, "rate_limit_exceeded"],
    [ask("simulated/sim-e500"), {}, 500, null],
    [ask("sim"), { path: "/v1/nothing" }, 404, null],
  ];
  for (const [body, options, status, code] of cases) {
    const seen = await call(body, options);
    assert.equal(seen.status, status, JSON.stringify([body, options]));
    assert.equal(seen.headers["retry-after"], status === 429 ? "1" : undefined);
    const { error } = JSON.parse(seen.text);
    assert.deepEqual([typeof error.message, typeof error.type, error.code], ["string", "string", code]);
    assert.ok("param" in error);
  }
  assert.match((await call(ask("sim-e401"), { key: "my-key" })).text, /Incorrect API key provided: my-key/);
});

test("faults that break the connection", async () => {
  const cut = await call(stream("sim-x2-i20"));
  assert.equal(cut.error, "ECONNRESET");
  const events = eventsOf(cut.text);
  assert.equal(events.filter((event) => event.choices[0].delta.content).length, 2);
  assert.ok(events.every((event) => event.choices[0].finish_reason === null));
  assert.equal((await simulator.ended("sim-x2-i20")).ended, "cut");

  const none = await call(stream("sim-x0"));
  assert.deepEqual([none.status, none.text, none.error], [200, "", "ECONNRESET"]);
  const whole = await call(ask("sim-x3"));
  assert.equal(whole.error, "ECONNRESET");
  assert.throws(() => JSON.parse(whole.text));
  const reset = await call(ask("reset"));
  assert.deepEqual([reset.status, reset.error], [null, "ECONNRESET"]);
});

test("faults that leave the client waiting end when it goes", async () => {
  const before = (await simulator.stats()).open;
  const hang = await call(ask("hang"), { giveUpAfterMs: 80 });
  assert.deepEqual([hang.status, hang.error], [null, "GAVE_UP"]);
  const left = await simulator.ended("hang");
  assert.equal(left.ended, "client_gone");
  assert.ok(left.ended_at_ms - left.at_ms >= 70);
  const stall = await call(stream("sim-stall"), { giveUpAfterMs: 80 });
  assert.equal(textOf(eventsOf(stall.text)).split(" ").length, 3);
  assert.equal((await simulator.ended("sim-stall")).chunks_sent.length, 3);
  const whole = await call(ask("sim-stall-whole-l0"), { giveUpAfterMs: 80 });
  assert.ok(whole.status === 200 && whole.text.length > 0);
  await simulator.ended("sim-stall-whole-l0");
  assert.equal((await simulator.stats()).open, before);
});

test("faults in the content", async () => {
  const half = await call(stream("sim-half"));
  assert.equal(half.error, null);
  const events = eventsOf(half.text);
  assert.ok(!events.includes("[DONE]") && events.every((event) => event.choices[0].finish_reason === null));
  assert.equal(textOf(events).split(" ").length, 3);

  const page = await call(ask("html"));
  assert.match(page.headers["content-type"], /^text\/html/);
  await assert.rejects(json(ask("badjson")), SyntaxError);
  assert.match((await call(stream("badjson"))).text, /data: \{"id":"chatcmpl-broken","choices":\[\{\n\n/);
  assert.equal((await json(ask("sim-nousage"))).usage, undefined);
  const counted = eventsOf((await call(stream("sim-nousage", { stream_options: { include_usage: true } }))).text);
  assert.ok(counted.every((event) => event.usage === undefined));

  const moved = await call(ask("redirect"));
  assert.deepEqual([moved.status, moved.headers.location], [302, "/redirected"]);
  await call(undefined, { method: "GET", path: "/redirected", key: null });
  assert.equal((await simulator.journal({ limit: 1 }))[0].path, "/redirected");
});

test("the bomb is small on the wire", async () => {
  for (const body of [ask("bomb"), stream("bomb")]) {
    const { headers, chunks } = await call(body);
    assert.equal(headers["content-encoding"], "gzip");
    const packed = Buffer.concat(chunks.map(({ bytes }) => bytes));
    assert.ok(packed.length < 100_000);
    assert.ok(gunzipSync(packed).length > 50 * 1024 * 1024);
  }
});

test("a client that goes is noticed", async () => {
  const begun = (await simulator.stats()).streams_cut;
  await call(stream("sim-i50-n100"), { giveUpAfterMs: 150 });
  const gone = Date.now();
  const entry = await simulator.ended("sim-i50-n100");
  assert.equal(entry.ended, "client_gone");
  assert.ok(Math.abs(entry.ended_at_ms - gone) < 500);
  assert.ok(entry.chunks_sent.length < 20);
  assert.equal((await simulator.stats()).streams_cut, begun + 1);
});

test("the journal keeps requests as they came, within bounds", async () => {
  const fields = { x_vendor: { nested: [1, 2.5, "é"] }, metadata: { a: "b" } };
  await call(ask("sim-marked", fields), { key: "Secret-Key" });
  const [entry] = await simulator.journal({ contains: '"sim-marked"' });
  assert.deepEqual(entry.body, ask("sim-marked", fields));
  assert.equal(entry.headers.authorization, "Bearer Secret-Key");
  assert.deepEqual([entry.method, entry.path], ["POST", "/v1/chat/completions"]);
  assert.deepEqual([entry.status, entry.ended], [200, "done"]);
  const long = JSON.stringify({ model: "sim-long", messages: [user("x".repeat(20_000))] });
  await call(long);
  const [kept] = await simulator.journal({ model: "sim-long" });
  assert.deepEqual([kept.body, kept.body_bytes], [null, long.length]);
});

test("the journal keeps the newest 5,000 requests and can be emptied", async () => {
  const own = await startSimulator("--ttft-ms", "0");
  try {
    const agents = Array.from({ length: 8 }, async (_, lane) => {
      for (let i = lane; i < 5_020; i += 8) {
        await (await fetch(`${own.url}/v1/models`, { headers: { authorization: "Bearer x" } })).arrayBuffer();
      }
    });
    await Promise.all(agents);
    const entries = await own.journal();
    assert.equal(entries.length, 5_000);
    assert.deepEqual([entries[0].id, entries.at(-1).id], ["req_21", "req_5020"]);
    assert.deepEqual(await own.stats(), { requests: 5_020, open: 0, streams_done: 0, streams_cut: 0 });
    await fetch(`${own.url}/journal`, { method: "DELETE" });
    assert.deepEqual(await own.journal(), []);
  } finally {
    await own.stop();
  }
});

test("it ends on SIGTERM, and with its parent when asked to", async () => {
  const one = await startSimulator();
  const waiting = exchange(one.url, ask("hang"));
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.deepEqual(await one.stop(), { code: 0, signal: null });
  assert.equal((await waiting).error, "ECONNRESET");
  const two = await startSimulator();
  two.child.stdin.end();
  assert.equal((await two.exited).code, 0);
});
