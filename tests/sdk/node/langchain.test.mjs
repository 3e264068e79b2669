// LangChain's classes for OpenAI, with providers of other formats behind the gateway.

import assert from "node:assert/strict";
import { test } from "node:test";
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI, OpenAIEmbeddings } from "@langchain/openai";
import { gateway, marker, PICTURE, refusal, SCHEMA, value } from "./environment.mjs";
import { assertAsked, FORMATS } from "./formats.mjs";
import { requestsWith } from "./journal.mjs";
import { keyWithoutLimits } from "./tenants.mjs";

const apiKey = await keyWithoutLimits();
const configuration = { baseURL: `${value("TOLLGATE_BASE_URL")}/v1` };
const chat = (model, more = {}) => new ChatOpenAI({ model, apiKey, configuration, maxRetries: 0, ...more });
const weather = tool(async ({ city }) => `12 degrees in ${city}`, {
  name: "weather",
  description: "The weather",
  schema: SCHEMA,
});

for (const [name, useResponsesApi] of [
  ["chat", false],
  ["responses", true],
  ["anthropic", false],
  ["gemini", true],
  ["bedrock", false],
]) {
  const modelOf = (id) => chat(`${FORMATS[name].provider}/${id}`, { useResponsesApi });

  test(`${name}: text, stream and picture`, gateway, async () => {
    const mark = marker();
    const model = modelOf("sim-t1-i1-n12");
    const content = [
      { type: "text", text: mark },
      { type: "image_url", image_url: { url: `data:image/png;base64,${PICTURE}` } },
    ];
    const whole = await model.invoke([new HumanMessage({ content })]);
    assert.equal(whole.text.split(" ").length, 12);
    assert.equal(whole.usage_metadata.output_tokens, 12);
    let all;
    for await (const chunk of await model.stream(`${mark} stream`))
      all = all === undefined ? chunk : all.concat(chunk);
    assert.equal(all.text.split(" ").length, 12);
    assert.equal(all.usage_metadata.output_tokens, 12);
    const [one, two] = await requestsWith(mark);
    assertAsked(name, one, { picture: true });
    assertAsked(name, two, { stream: true });
  });

  test(`${name}: tools`, gateway, async () => {
    const model = modelOf("sim-t1-i0-n12-p2").bindTools([weather]);
    const question = new HumanMessage(marker());
    const first = await model.invoke([question]);
    assert.deepEqual(
      first.tool_calls.map((call) => [call.name, call.args.days]),
      [
        ["weather", 2],
        ["weather", 2],
      ],
    );
    const results = await Promise.all(first.tool_calls.map((call) => weather.invoke(call)));
    assert.ok(results.every((result) => result instanceof ToolMessage));
    assert.ok((await model.invoke([question, first, ...results])).text);
  });

  test(`${name}: structured output`, gateway, async () => {
    const model = modelOf("sim-t1-i0").withStructuredOutput(
      { title: "weather", ...SCHEMA },
      { method: "jsonSchema", strict: true },
    );
    assert.equal((await model.invoke(marker())).days, 2);
  });
}

test("embeddings", gateway, async () => {
  const model = new OpenAIEmbeddings({
    model: "simulated-gemini/sim-embed",
    dimensions: 16,
    apiKey,
    configuration,
  });
  const vectors = await model.embedDocuments(["one", "two"]);
  assert.deepEqual(
    vectors.map(({ length }) => length),
    [16, 16],
  );
});

test("an unknown model", gateway, async () => {
  const error = await refusal(chat("no-such-alias").invoke("x"));
  assert.equal(error.status, 404);
});
