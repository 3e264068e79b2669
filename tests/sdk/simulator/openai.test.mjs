// OpenAI's own SDK straight against the simulated provider: Responses, and what Chat Completions adds to
// provider.test.mjs.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import OpenAI, { AzureOpenAI } from "openai";
import { startSimulator } from "./start.mjs";
import { collect, PICTURE, QUESTION, refusal, SCHEMA } from "./weather.mjs";

const tools = [{ type: "function", name: "weather", parameters: SCHEMA, strict: true }];
let simulator;
let client;
before(async () => {
  simulator = await startSimulator("--ttft-ms", "1", "--itl-ms", "0", "--tokens", "12");
  client = new OpenAI({ apiKey: "any", baseURL: `${simulator.url}/v1`, maxRetries: 0 });
});
after(() => simulator.stop());
const ask = (model, more = {}) => client.responses.create({ model, input: QUESTION, ...more });

test("a response", async () => {
  const answer = await ask("sim-r4");
  assert.equal(answer.status, "completed");
  assert.equal(answer.output_text.split(" ").length, 12);
  assert.deepEqual([answer.usage.output_tokens, answer.usage.input_tokens_details.cached_tokens], [12, 4]);
  const short = await ask("sim-n40", { max_output_tokens: 16 });
  assert.deepEqual([short.status, short.incomplete_details.reason], ["incomplete", "max_output_tokens"]);
});

test("a streamed response", async () => {
  const whole = await ask("sim-think");
  const runner = client.responses.stream({ model: "sim-think", input: QUESTION });
  const events = await collect(runner);
  assert.deepEqual(
    events.map((event) => event.sequence_number),
    events.map((_, at) => at),
  );
  const deltas = events.filter(({ type }) => type === "response.output_text.delta").map(({ delta }) => delta);
  assert.equal(deltas.length, 12);
  assert.equal(deltas.join(""), whole.output_text);
  const final = await runner.finalResponse();
  assert.deepEqual(
    final.output,
    whole.output.map((item) =>
      item.type === "message"
        ? { ...item, content: item.content.map((part) => ({ ...part, parsed: null })) }
        : item,
    ),
  );
  assert.deepEqual(
    final.output.map(({ type }) => type),
    ["reasoning", "message"],
  );
  assert.equal(final.usage.output_tokens_details.reasoning_tokens, 6);
});

test("tools of a response", async () => {
  const runner = client.responses.stream({ model: "sim-p2", input: QUESTION, tools });
  const events = await collect(runner);
  assert.ok(events.filter(({ type }) => type === "response.function_call_arguments.delta").length > 4);
  const { output } = await runner.finalResponse();
  assert.deepEqual(
    output.map(({ type, name }) => [type, name]),
    [
      ["function_call", "weather"],
      ["function_call", "weather"],
    ],
  );
  assert.equal(JSON.parse(output[1].arguments).days, 2);
  const results = output.map(({ call_id }) => ({ type: "function_call_output", call_id, output: "rain" }));
  const second = await ask("sim", { input: [{ role: "user", content: QUESTION }, ...output, ...results], tools });
  assert.equal(second.output[0].type, "message");
  const error = await refusal(ask("sim", { input: [{ role: "user", content: QUESTION }, results[0]] }));
  assert.ok(error instanceof OpenAI.BadRequestError);
});

test("structured output, and a picture", async () => {
  const format = { type: "json_schema", name: "weather", schema: SCHEMA, strict: true };
  const answer = await client.responses.parse({ model: "sim", input: QUESTION, text: { format } });
  assert.equal(JSON.parse(answer.output_text).days, 2);
  const content = [
    { type: "input_text", text: QUESTION },
    { type: "input_image", detail: "low", image_url: `data:image/png;base64,${PICTURE}` },
  ];
  const seen = await ask("sim", { input: [{ role: "user", content }] });
  assert.equal(seen.usage.input_tokens - (await ask("sim")).usage.input_tokens, 85);
  assert.equal((await client.responses.inputTokens.count({ model: "sim", input: QUESTION })).input_tokens, 12);
});

test("what Chat Completions has and Responses has not is refused", async () => {
  for (const more of [
    { messages: [] },
    { max_tokens: 5 },
    { tools: [{ type: "function", function: { name: "x" } }] },
  ]) {
    assert.ok((await refusal(ask("sim", more))) instanceof OpenAI.BadRequestError);
  }
});

test("an error inside a stream", async () => {
  const error = await refusal(collect(client.responses.stream({ model: "sim-o3", input: QUESTION })));
  assert.ok(error instanceof OpenAI.OpenAIError, error.message);
  const messages = [{ role: "user", content: QUESTION }];
  const stream = await client.chat.completions.create({ model: "sim-o3", messages, stream: true });
  assert.ok((await refusal(collect(stream))) instanceof OpenAI.APIError);
});

test("a result of a tool that was not called is refused", async () => {
  const messages = [
    { role: "user", content: QUESTION },
    { role: "tool", tool_call_id: "call_1", content: "rain" },
  ];
  assert.ok(
    (await refusal(client.chat.completions.create({ model: "sim", messages }))) instanceof OpenAI.BadRequestError,
  );
});

test("newer models know one name for the cap", async () => {
  const create = (more) =>
    client.chat.completions.create({
      model: "gpt-5-sim",
      messages: [{ role: "user", content: QUESTION }],
      ...more,
    });
  assert.ok((await create({ max_completion_tokens: 20 })).choices);
  assert.equal((await refusal(create({ max_tokens: 20 }))).param, "max_tokens");
});

test("Azure wants its key in a header of its own", async () => {
  const options = { baseURL: `${simulator.url}/azure/v1`, apiVersion: "preview", maxRetries: 0 };
  const azure = new AzureOpenAI({ ...options, apiKey: "any" });
  assert.ok((await azure.responses.create({ model: "sim", input: QUESTION })).output_text);
  const plain = new OpenAI({ apiKey: "any", baseURL: options.baseURL, maxRetries: 0 });
  assert.ok(
    (await refusal(plain.responses.create({ model: "sim", input: QUESTION }))) instanceof
      OpenAI.AuthenticationError,
  );
});
