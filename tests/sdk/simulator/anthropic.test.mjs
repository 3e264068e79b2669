// Anthropic's own SDK straight against the simulated provider.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { startSimulator } from "./start.mjs";
import { collect, PICTURE, QUESTION, refusal, SCHEMA } from "./weather.mjs";

const tools = [{ name: "weather", input_schema: SCHEMA }];
const messages = [{ role: "user", content: QUESTION }];
let simulator;
let client;
before(async () => {
  simulator = await startSimulator("--ttft-ms", "1", "--itl-ms", "0", "--tokens", "12");
  client = new Anthropic({ apiKey: "any", baseURL: `${simulator.url}/anthropic`, maxRetries: 0 });
});
after(() => simulator.stop());
const ask = (model, more = {}) => client.messages.create({ model, max_tokens: 100, messages, ...more });
const stream = (model, more = {}) => client.messages.stream({ model, max_tokens: 100, messages, ...more });

test("a message", async () => {
  const answer = await ask("sim-r4-w3", { system: "Be brief." });
  assert.equal(answer.content[0].text.split(" ").length, 12);
  assert.equal(answer.stop_reason, "end_turn");
  const { input_tokens: fresh, cache_read_input_tokens: read, cache_creation_input_tokens: written } = answer.usage;
  assert.deepEqual([fresh + read + written, read, written], [18, 4, 3]);
  assert.equal((await ask("sim", { max_tokens: 3 })).stop_reason, "max_tokens");
  const word = answer.content[0].text.split(" ")[4];
  const stopped = await ask("sim-r4-w3", { system: "Be brief.", stop_sequences: [word] });
  assert.deepEqual([stopped.stop_reason, stopped.stop_sequence], ["stop_sequence", word]);
});

test("a streamed message", async () => {
  const whole = await ask("sim-think");
  assert.deepEqual(
    whole.content.map(({ type }) => type),
    ["thinking", "text"],
  );
  const runner = stream("sim-think");
  const final = await runner.finalMessage();
  assert.deepEqual(
    final.content.map(({ type, text, thinking, signature }) => [type, text, thinking, signature]),
    whole.content.map(({ type, text, thinking, signature }) => [type, text, thinking, signature]),
  );
  assert.equal(final.usage.output_tokens, 18);
  const raw = await (await ask("sim", { stream: true }).asResponse()).text();
  const kinds = raw
    .split("\n")
    .filter((line) => line.startsWith("event: "))
    .map((line) => line.slice(7));
  assert.deepEqual(kinds.slice(0, 4), ["message_start", "content_block_start", "ping", "content_block_delta"]);
  assert.deepEqual(kinds.slice(-3), ["content_block_stop", "message_delta", "message_stop"]);
});

test("tools, streamed, answered", async () => {
  const runner = stream("sim-p2", { tools });
  let pieces = 0;
  runner.on("inputJson", () => {
    pieces += 1;
  });
  const first = await runner.finalMessage();
  assert.equal(first.stop_reason, "tool_use");
  assert.ok(pieces > 4);
  assert.deepEqual(
    first.content.map(({ name, input }) => [name, input.days]),
    [
      ["weather", 2],
      ["weather", 2],
    ],
  );
  const results = first.content.map(({ id }) => ({ type: "tool_result", tool_use_id: id, content: "rain" }));
  const talk = [...messages, { role: "assistant", content: first.content }];
  const second = await ask("sim", { tools, messages: [...talk, { role: "user", content: results }] });
  assert.equal(second.content[0].type, "text");
  const one = await refusal(ask("sim", { tools, messages: [...talk, { role: "user", content: [results[0]] }] }));
  assert.ok(one instanceof Anthropic.BadRequestError);
  assert.match(one.message, /tool_use/);
});

test("structured output, a picture, and counting", async () => {
  const format = { type: "json_schema", schema: SCHEMA };
  assert.equal(JSON.parse((await ask("sim", { output_config: { format } })).content[0].text).days, 2);
  const image = { type: "image", source: { type: "base64", media_type: "image/png", data: PICTURE } };
  const seen = await ask("sim", {
    messages: [{ role: "user", content: [{ type: "text", text: QUESTION }, image] }],
  });
  assert.equal(seen.usage.input_tokens, 97);
  assert.equal((await client.messages.countTokens({ model: "sim", messages })).input_tokens, 12);
});

test("what Anthropic refuses", async () => {
  const wrong = [
    { max_tokens: undefined },
    { max_tokens: 0 },
    { temperature: 1 },
    { top_k: 5 },
    { messages: [] },
    { frequency_penalty: 1 },
    { messages: [{ role: "system", content: "x" }, ...messages] },
    { messages: [{ role: "assistant", content: "x" }] },
    { messages: [{ role: "user", content: "" }] },
    { messages: [{ role: "user", content: [{ type: "text", text: "" }] }] },
    { messages: [{ role: "user", content: [{ type: "image_url" }] }] },
    { tools: [{ type: "function" }] },
    { tool_choice: { type: "auto" } },
    { thinking: { type: "enabled", budget_tokens: 10 } },
    {
      messages: [
        ...messages,
        { role: "user", content: [{ type: "tool_result", tool_use_id: "toolu_1", content: "x" }] },
      ],
    },
  ];
  for (const more of wrong) {
    const error = await refusal(ask("sim", more)).catch((failure) => {
      throw new Error(JSON.stringify(more), { cause: failure });
    });
    assert.ok(error instanceof Anthropic.BadRequestError, JSON.stringify(more));
    assert.equal(error.type, "invalid_request_error");
  }
});

test("the version before took a temperature", async () => {
  const options = { headers: { "anthropic-version": "2023-06-01" } };
  const create = (temperature) =>
    client.messages.create({ model: "sim", max_tokens: 5, messages, temperature }, options);
  assert.ok((await create(1)).content);
  assert.ok((await refusal(create(1.5))) instanceof Anthropic.BadRequestError);
});

test("newer models take less", async () => {
  const options = { headers: { "anthropic-version": "2023-06-01" } };
  const create = (model, more) => client.messages.create({ model, max_tokens: 3_000, messages, ...more }, options);
  const thinking = { type: "enabled", budget_tokens: 1_024 };
  const taken = [
    ["claude-sonnet-4-5-sim", { temperature: 0.5 }],
    ["claude-sonnet-4-5-sim", { thinking }],
    ["claude-opus-4-20250514", { temperature: 0.5, top_p: 0.5 }],
  ];
  for (const [model, more] of taken) assert.ok((await create(model, more)).content, model);
  const refused = [
    ["claude-sonnet-4-5-sim", { temperature: 0.5, top_p: 0.5 }],
    ["claude-opus-4-7-sim", { temperature: 0.5 }],
    ["claude-opus-5-sim", { thinking }],
  ];
  for (const [model, more] of refused)
    assert.ok((await refusal(create(model, more))) instanceof Anthropic.BadRequestError, model);
});

test("keys, versions and errors", async () => {
  const other = (options) => new Anthropic({ baseURL: `${simulator.url}/anthropic`, maxRetries: 0, ...options });
  const create = (one) => one.messages.create({ model: "sim", max_tokens: 5, messages });
  assert.ok((await refusal(create(other({ apiKey: "bad-key" })))) instanceof Anthropic.AuthenticationError);
  const older = { defaultHeaders: { authorization: null, "x-api-key": "any" } };
  assert.ok((await create(other({ apiKey: "any", ...older }))).content);
  const late = other({ apiKey: "any", defaultHeaders: { "anthropic-version": null } });
  assert.match((await refusal(create(late))).message, /anthropic-version/);
  const kinds = { 404: "not_found_error", 429: "rate_limit_error", 500: "api_error", 529: "overloaded_error" };
  for (const [status, kind] of Object.entries(kinds)) {
    const error = await refusal(ask(`sim-e${status}`));
    assert.deepEqual([error.status, error.type], [Number(status), kind]);
  }
  const inside = await refusal(collect(stream("sim-o3")));
  assert.equal(inside.type, "overloaded_error");
});
