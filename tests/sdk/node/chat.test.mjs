import assert from "node:assert/strict";
import { test } from "node:test";
import { clientFor, FAST, MODEL, marker, user } from "./environment.mjs";
import { ended } from "./journal.mjs";

const client = clientFor();
const mark = marker();

test("chat", async () => {
  const answer = await client.chat.completions.create({ model: MODEL, messages: user(`${mark} chat`) });
  assert.equal(answer.object, "chat.completion");
  assert.equal(answer.choices[0].message.role, "assistant");
  assert.ok(answer.choices[0].message.content);
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.equal(answer.usage.completion_tokens, 32);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + 32);
  assert.equal((await ended(`${mark} chat`)).ended, "done");
});

test("an alias", async () => {
  const answer = await client.chat.completions.create({ model: FAST, messages: user(`${mark} alias`) });
  assert.equal(answer.usage.completion_tokens, answer.choices[0].message.content.split(" ").length);
  assert.match((await ended(`${mark} alias`)).model, /^sim-small/);
});

test("requests at the same time", async () => {
  const answers = await Promise.all([1, 2, 3, 4].map((number) =>
    client.chat.completions.create({ model: MODEL, messages: user(`${mark} together ${number}`) })));
  assert.equal(new Set(answers.map((answer) => answer.choices[0].message.content)).size, 4);
});

test("the token cap is kept", async () => {
  const answer = await client.chat.completions.create({
    model: MODEL, messages: user(`${mark} cap`), max_completion_tokens: 4,
  });
  assert.equal(answer.choices[0].finish_reason, "length");
  assert.equal(answer.usage.completion_tokens, 4);
});

test("unknown request fields reach the provider unchanged", async () => {
  const fields = {
    x_vendor: { nested: [1, 2.5, true, null, "größer 東京 😀"], empty: {} }, x_number: -0.25, x_list: [],
    seed: 7, temperature: 0.5, logit_bias: { 50256: -100 }, user: "someone",
  };
  const messages = user(`${mark} fields`);
  await client.chat.completions.create({ model: MODEL, messages, ...fields });
  const { body } = await ended(`${mark} fields`);
  for (const [name, sent] of Object.entries(fields)) assert.deepEqual(body[name], sent, name);
  assert.deepEqual(body.messages, messages);
  assert.ok(MODEL.endsWith(body.model.split("/").at(-1)));
});

test("structured output", async () => {
  const schema = {
    type: "object", required: ["place", "days", "stops"], additionalProperties: false,
    properties: {
      place: { type: "string" }, days: { type: "integer" }, stops: { type: "array", items: { type: "string" } },
    },
  };
  const answer = await client.chat.completions.parse({
    model: MODEL, messages: user(`${mark} structured`),
    response_format: { type: "json_schema", json_schema: { name: "trip", strict: true, schema } },
  });
  const trip = JSON.parse(answer.choices[0].message.content);
  assert.deepEqual(Object.keys(trip), ["place", "days", "stops"]);
  assert.ok(Number.isInteger(trip.days) && Array.isArray(trip.stops));
  assert.deepEqual((await ended(`${mark} structured`)).body.response_format.json_schema.schema, schema);
});

test("embeddings", async () => {
  // The SDK asks for base64 unless it is told otherwise.
  const model = "simulated/sim-embed";
  const answer = await client.embeddings.create({ model, input: [mark, "two"], dimensions: 16 });
  assert.deepEqual(answer.data.map((item) => item.embedding.length), [16, 16]);
  const plain = await client.embeddings.create({ model, input: mark, dimensions: 16, encoding_format: "float" });
  assert.deepEqual(Array.from(plain.data[0].embedding), Array.from(answer.data[0].embedding));
});
