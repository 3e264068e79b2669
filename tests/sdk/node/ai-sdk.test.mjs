// Vercel's AI SDK, with its providers for OpenAI (Responses and Chat Completions) and Anthropic.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, embedMany, generateText, isStepCount, jsonSchema, Output, streamText, tool } from "ai";
import { gateway, marker, PICTURE, refusal, SCHEMA, value } from "./environment.mjs";
import { assertAsked, FORMATS } from "./formats.mjs";
import { ended, requestsWith } from "./journal.mjs";
import { keyWithoutLimits } from "./tenants.mjs";

const key = await keyWithoutLimits();
const settings = { apiKey: key, baseURL: `${value("TOLLGATE_BASE_URL")}/v1` };
const openai = createOpenAI(settings);
const anthropic = createAnthropic(settings);
const MAKERS = {
  responses: (model) => openai.responses(model),
  chat: (model) => openai.chat(model),
  messages: (model) => anthropic(model),
};
/** What was said before goes back whole: the default is to refer to answers that the provider has stored. */
const providerOptions = { openai: { store: false } };
const weather = () =>
  tool({
    description: "The weather",
    inputSchema: jsonSchema(SCHEMA),
    execute: async ({ city, days }) => ({ city, days, degrees: 12 }),
  });

for (const [maker, modelOf] of Object.entries(MAKERS)) {
  for (const name of ["chat", "responses", "anthropic", "gemini", "bedrock"]) {
    const model = (id) => modelOf(`${FORMATS[name].provider}/${id}`);
    const about = `${maker} to ${name}`;
    const mark = marker();

    test(`${about}: text and stream`, gateway, async () => {
      const { text, usage, finishReason } = await generateText({
        model: model("sim-t1-i1-n12"),
        prompt: `${mark} text`,
        maxOutputTokens: 100,
      });
      assert.equal(text.split(" ").length, 12);
      assert.deepEqual([finishReason, usage.outputTokens], ["stop", 12]);
      const stream = streamText({ model: model("sim-t1-i1-n12"), prompt: `${mark} stream`, maxOutputTokens: 100 });
      let joined = "";
      for await (const delta of stream.textStream) joined += delta;
      assert.equal(joined.split(" ").length, 12);
      assert.equal((await stream.usage).outputTokens, 12);
      assertAsked(name, await ended(`${mark} stream`), { stream: true });
    });

    test(`${about}: tools to the end`, gateway, async () => {
      const asked = {
        model: model("sim-t1-i0-n12-p2"),
        prompt: `${mark} tools`,
        tools: { weather: weather() },
        stopWhen: isStepCount(3),
        maxOutputTokens: 300,
        providerOptions,
      };
      const stream = streamText(asked);
      for await (const _ of stream.textStream);
      const steps = await stream.steps;
      assert.equal(steps.length, 2);
      assert.deepEqual(
        steps[0].toolResults.map(({ output }) => [output.days, output.degrees]),
        [
          [2, 12],
          [2, 12],
        ],
      );
      assert.ok(steps[1].text);
      const messages = [
        { role: "user", content: `${mark} tools` },
        ...(await stream.response).messages,
        { role: "user", content: "And back?" },
      ];
      assert.ok((await generateText({ ...asked, prompt: undefined, messages, tools: {} })).text);
      assert.deepEqual(
        (await requestsWith(`${mark} tools`)).map(({ status }) => status),
        [200, 200, 200],
      );
    });

    test(`${about}: an object and a picture`, gateway, async () => {
      const content = [
        { type: "text", text: `${mark} object` },
        { type: "file", data: PICTURE, mediaType: "image/png" },
      ];
      const { output } = await generateText({
        model: model("sim-t1-i0"),
        messages: [{ role: "user", content }],
        maxOutputTokens: 100,
        output: Output.object({ schema: jsonSchema(SCHEMA) }),
      });
      assert.equal(output.days, 2);
      assertAsked(name, await ended(`${mark} object`), { picture: true });
    });
  }
}

test("embeddings", gateway, async () => {
  const model = openai.embedding("simulated-gemini/sim-embed");
  const { embeddings } = await embedMany({
    model,
    values: ["one", "two"],
    providerOptions: { openai: { dimensions: 16 } },
  });
  assert.deepEqual(
    embeddings.map(({ length }) => length),
    [16, 16],
  );
});

test("errors have their status, and cancelling reaches the provider", gateway, async () => {
  const failing = { prompt: "x", maxRetries: 0, maxOutputTokens: 20 };
  for (const modelOf of Object.values(MAKERS)) {
    const error = await refusal(generateText({ ...failing, model: modelOf("no-such-alias") }));
    assert.ok(APICallError.isInstance(error), error.message);
    assert.deepEqual([error.statusCode, error.isRetryable], [404, false]);
  }
  const mark = marker();
  const controller = new AbortController();
  const model = anthropic("simulated/sim-t1-i100-n100");
  const stream = streamText({ model, prompt: mark, maxOutputTokens: 200, abortSignal: controller.signal });
  let seen = 0;
  for await (const _ of stream.textStream) {
    seen += 1;
    if (seen === 3) controller.abort();
  }
  assert.equal((await ended(mark)).ended, "client_gone");
});
