// Another simulated provider, written by others (https://aimock.copilotkit.dev): the same SDKs through the
// gateway, so that what is right does not hang on one idea of the formats.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { LLMock } from "@copilotkit/aimock";
import OpenAI from "openai";
import { openSite } from "../../gateway/site.mjs";
import { collect, contentOf, DIRECT, SCHEMA } from "./environment.mjs";

const QUESTION = "How far is the harbour?";
const TEXT = "Seven minutes on foot – größer als 東京 😀.";
const WEATHER = "What is the weather in Oslo and in Bern?";
const CALLS = [
  { name: "weather", arguments: '{"city":"Oslo","days":2}' },
  { name: "weather", arguments: '{"city":"Bern","days":3}' },
];
const FORMATS = {
  chat: { path: "/v1", row: {} },
  responses: { path: "/v1", row: { format: "responses" } },
  anthropic: { path: "/v1", row: { format: "anthropic" } },
  gemini: { path: "/v1beta", row: { format: "gemini" } },
  bedrock: { path: "", row: { format: "bedrock" } },
};

let mock;
let site;
let openai;
let anthropic;
before(async () => {
  if (DIRECT) return;
  mock = new LLMock({ port: 0, logLevel: "silent" });
  mock.onMessage(QUESTION, { content: TEXT });
  mock.on({ userMessage: WEATHER, hasToolResult: true }, { content: "Rain." });
  // Its own word for the end of a Gemini answer with calls is not one of Google's, which say STOP.
  mock.on(
    { userMessage: WEATHER, hasToolResult: false, model: /^gemini/ },
    { toolCalls: CALLS, finishReason: "stop" },
  );
  mock.on({ userMessage: WEATHER, hasToolResult: false }, { toolCalls: CALLS });
  mock.onEmbedding("harbour", { embedding: [0.25, -0.5, 0.125] });
  await mock.start();
  const row = ({ path, row: more }) => ({
    base_url: `${mock.url}${path}`,
    api_key_env: "SIMULATED_API_KEY",
    ...more,
    default_price: { input_usd_per_mtok: "0.50", output_usd_per_mtok: "1.50" },
  });
  site = await openSite({
    providers: () =>
      Object.fromEntries(Object.entries(FORMATS).map(([name, format]) => [`mock-${name}`, row(format)])),
    env: { TOLLGATE_PLAIN_HTTP_HOSTS: new URL(mock.url).host },
  });
  const { key } = await site.tenant("aimock");
  openai = new OpenAI({ apiKey: key, baseURL: `${site.url}/v1`, maxRetries: 0 });
  anthropic = new Anthropic({ apiKey: key, baseURL: site.url, maxRetries: 0 });
});
after(() => Promise.all([site?.close(), mock?.stop()]));
const gateway = { skip: DIRECT && "needs the gateway" };

for (const name of Object.keys(FORMATS)) {
  const model = `mock-${name}/${name === "gemini" ? "gemini-x" : "gpt-x"}`;
  const asked = (content, more = {}) => ({
    model,
    max_tokens: 200,
    messages: [{ role: "user", content }],
    ...more,
  });

  test(`${name}: Chat Completions`, gateway, async () => {
    const answer = await openai.chat.completions.create(asked(QUESTION));
    assert.deepEqual([answer.choices[0].message.content, answer.choices[0].finish_reason], [TEXT, "stop"]);
    const chunks = await collect(
      await openai.chat.completions.create(asked(QUESTION, { stream: true }), {
        headers: { "x-tollgate-cache": "skip" },
      }),
    );
    assert.equal(chunks.map(contentOf).join(""), TEXT);
    const tools = [{ type: "function", function: { name: "weather", parameters: SCHEMA } }];
    const {
      choices: [{ message }],
    } = await openai.chat.completions.stream(asked(WEATHER, { tools })).finalChatCompletion();
    assert.deepEqual(
      message.tool_calls.map((call) => JSON.parse(call.function.arguments)),
      CALLS.map((call) => JSON.parse(call.arguments)),
    );
    const results = message.tool_calls.map(({ id }) => ({ role: "tool", tool_call_id: id, content: "rain" }));
    const messages = [{ role: "user", content: WEATHER }, message, ...results];
    assert.equal(
      (await openai.chat.completions.create({ ...asked(""), messages, tools })).choices[0].message.content,
      "Rain.",
    );
  });

  test(`${name}: Responses`, gateway, async () => {
    const answer = await openai.responses.create({ model, input: QUESTION });
    assert.deepEqual([answer.output_text, answer.status], [TEXT, "completed"]);
    const tools = [{ type: "function", name: "weather", parameters: SCHEMA, strict: false }];
    const first = await openai.responses.stream({ model, input: WEATHER, tools }).finalResponse();
    const calls = first.output.filter(({ type }) => type === "function_call");
    assert.deepEqual(
      calls.map((call) => JSON.parse(call.arguments)),
      CALLS.map((call) => JSON.parse(call.arguments)),
    );
  });

  test(`${name}: Messages`, gateway, async () => {
    const answer = await anthropic.messages.create(asked(QUESTION));
    assert.deepEqual([answer.content[0].text, answer.stop_reason], [TEXT, "end_turn"]);
    const runner = anthropic.messages.stream(asked(QUESTION), { headers: { "x-tollgate-cache": "skip" } });
    assert.equal(await runner.finalText(), TEXT);
    const tools = [{ name: "weather", input_schema: SCHEMA }];
    const first = await anthropic.messages.stream(asked(WEATHER, { tools })).finalMessage();
    const calls = first.content.filter(({ type }) => type === "tool_use");
    assert.deepEqual(
      [first.stop_reason, ...calls.map(({ input }) => input)],
      ["tool_use", ...CALLS.map((call) => JSON.parse(call.arguments))],
    );
    const content = calls.map(({ id }) => ({ type: "tool_result", tool_use_id: id, content: "rain" }));
    const messages = [
      { role: "user", content: WEATHER },
      { role: "assistant", content: first.content },
      { role: "user", content },
    ];
    assert.equal((await anthropic.messages.create({ ...asked(""), messages, tools })).content[0].text, "Rain.");
  });
}

test("embeddings", gateway, async () => {
  const answer = await openai.embeddings.create({
    model: "mock-chat/text-embedding-3-small",
    input: "harbour",
    encoding_format: "float",
  });
  assert.deepEqual(answer.data[0].embedding, [0.25, -0.5, 0.125]);
});
