import assert from "node:assert/strict";
import { test } from "node:test";
import { clientFor, MODEL, marker, user } from "./environment.mjs";
import { requestsWith } from "./journal.mjs";

const client = clientFor();
const mark = marker();
const tools = [{
  type: "function",
  function: {
    name: "weather",
    parameters: {
      type: "object", required: ["city", "days"], additionalProperties: false,
      properties: { city: { type: "string" }, days: { type: "integer", minimum: 2 } },
    },
  },
}];

test("call, result and answer", async () => {
  const messages = user(`${mark} whole`);
  const first = await client.chat.completions.create({ model: MODEL, messages, tools });
  assert.equal(first.choices[0].finish_reason, "tool_calls");
  const { message } = first.choices[0];
  const [call] = message.tool_calls;
  assert.equal(call.function.name, "weather");
  assert.equal(JSON.parse(call.function.arguments).days, 2);

  const result = { role: "tool", tool_call_id: call.id, content: '{"degrees":12}' };
  const second = await client.chat.completions.create({
    model: MODEL, messages: [...messages, message, result], tools,
  });
  assert.equal(second.choices[0].finish_reason, "stop");
  assert.ok(second.choices[0].message.content);

  const [asked, answered] = (await requestsWith(`${mark} whole`)).map(({ body }) => body);
  assert.deepEqual(asked.tools, tools);
  assert.equal(answered.messages[1].tool_calls[0].id, call.id);
  assert.deepEqual(answered.messages[2], result);
});

test("streamed arguments reassemble", async () => {
  const calls = [];
  let pieces = 0;
  let finish;
  const stream = await client.chat.completions.create({
    model: "simulated/sim-p2", messages: user(`${mark} stream`), tools, stream: true,
  });
  for await (const chunk of stream) {
    for (const piece of chunk.choices[0].delta.tool_calls ?? []) {
      calls[piece.index] ??= { id: piece.id, name: piece.function.name, text: "" };
      calls[piece.index].text += piece.function.arguments;
      if (piece.function.arguments) pieces += 1;
    }
    finish = chunk.choices[0].finish_reason;
  }
  assert.equal(finish, "tool_calls");
  assert.ok(calls.length === 2 && pieces > 4);
  assert.notEqual(calls[0].id, calls[1].id);
  for (const { name, text } of calls) assert.deepEqual([name, JSON.parse(text).days], ["weather", 2]);
});

test("runTools goes through the whole exchange", async () => {
  const asked = [];
  const weather = (args) => {
    asked.push(args);
    return "12 degrees";
  };
  const runner = client.chat.completions.runTools({
    model: MODEL, messages: user(`${mark} runner`),
    tools: [{ type: "function", function: { ...tools[0].function, parse: JSON.parse, function: weather } }],
  });
  const text = await runner.finalContent();
  assert.ok(text);
  assert.equal(asked.length, 1);
  assert.equal(asked[0].days, 2);
});
