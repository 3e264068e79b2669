// Reasoning asked for in one format and done in another, and what models of a kind take and what not.

import assert from "node:assert/strict";
import { test } from "node:test";
import { anthropicFor, clientFor, gateway, marker, SCHEMA, user } from "./environment.mjs";
import { ended, requestsWith } from "./journal.mjs";
import { keyWithoutLimits } from "./tenants.mjs";

const key = await keyWithoutLimits();
const openai = clientFor(key);
const anthropic = anthropicFor(key);
const tools = [{ type: "function", name: "weather", parameters: SCHEMA, strict: true }];

const MODELS = {
  "simulated-anthropic/claude-sonnet-4-5-sim-t1-i0-n8-think": (body) =>
    body.thinking.type === "enabled" && body.max_tokens > body.thinking.budget_tokens,
  "simulated-anthropic/claude-opus-4-7-sim-t1-i0-n8-think": (body) =>
    body.thinking.type === "adaptive" && body.output_config.effort === "low",
  "simulated-gemini/gemini-2.5-pro-sim-t1-i0-n8-think": (body) =>
    body.generationConfig.thinkingConfig.thinkingBudget > 0,
  "simulated-gemini/gemini-3-pro-sim-t1-i0-n8-think": (body) =>
    body.generationConfig.thinkingConfig.thinkingLevel.toLowerCase() === "low",
  "simulated-bedrock/anthropic.claude-sonnet-4-5-sim-t1-i0-n8-think": (body) =>
    body.additionalModelRequestFields.thinking.budget_tokens > 0,
};

for (const [model, thinks] of Object.entries(MODELS)) {
  test(`${model}: Chat Completions`, gateway, async () => {
    const mark = marker();
    const answer = await openai.chat.completions.create({
      model,
      messages: user(mark),
      reasoning_effort: "low",
      temperature: 0.5,
      top_p: 0.5,
    });
    assert.equal(answer.choices[0].message.content.split(" ").length, 8);
    // Gemini tells thoughts only to those who ask for them, and counts them. The others tell them, and count nothing.
    const told =
      answer.choices[0].message.reasoning_content?.split(" ").length ??
      answer.usage.completion_tokens_details.reasoning_tokens;
    assert.equal(told, 6);
    const { body } = await ended(mark);
    assert.ok(thinks(body), JSON.stringify(body));
  });

  test(`${model}: Responses, with a tool between`, gateway, async () => {
    const mark = marker();
    const asked = {
      model,
      reasoning: { effort: "low", summary: "auto" },
      tools,
      include: ["reasoning.encrypted_content"],
      store: false,
    };
    const first = await openai.responses.stream({ ...asked, input: mark }).finalResponse();
    assert.equal(first.output[0].type, "reasoning");
    assert.equal(first.output[0].summary[0].text.split(" ").length, 6);
    const { call_id } = first.output.find(({ type }) => type === "function_call");
    const result = { type: "function_call_output", call_id, output: "rain" };
    const second = await openai.responses.create({
      ...asked,
      input: [{ role: "user", content: mark }, ...first.output, result],
    });
    assert.ok(second.output_text);
    // The maker's own proof goes back to it as it came.
    const { body } = (await requestsWith(mark))[1];
    const [, proof] = /"(?:signature|thoughtSignature)":"([^"]+)"/.exec(JSON.stringify(body)) ?? [];
    assert.ok(
      ["a simulated signature", "a simulated thought"].includes(Buffer.from(proof ?? "", "base64").toString()),
      JSON.stringify(body),
    );
    assert.ok(thinks(body), JSON.stringify(body));
  });
}

test("thinking asked for in Anthropic's words, done elsewhere", gateway, async () => {
  const asked = { max_tokens: 4_000, thinking: { type: "enabled", budget_tokens: 2_000 } };
  const wanted = {
    "simulated-responses/sim-t1-i0-n8-think": (body) => body.reasoning.effort !== undefined,
    "simulated-gemini/gemini-2.5-pro-sim-t1-i0-n8-think": (body) =>
      body.generationConfig.thinkingConfig.thinkingBudget === 2_000,
    "simulated/sim-t1-i0-n8-think": (body) => body.reasoning_effort !== undefined,
  };
  for (const [model, thinks] of Object.entries(wanted)) {
    const mark = marker();
    const final = await anthropic.messages.stream({ ...asked, model, messages: user(mark) }).finalMessage();
    assert.deepEqual(
      final.content.map(({ type }) => type),
      ["thinking", "text"],
      model,
    );
    assert.equal(final.content[0].thinking.split(" ").length, 6);
    const { body } = await ended(mark);
    assert.ok(thinks(body), JSON.stringify(body));
  }
});

test("a model that knows one name for the cap gets that", gateway, async () => {
  const model = "simulated-azure/gpt-5-sim-t1-i0-n40";
  const answer = await anthropic.messages.create({ model, max_tokens: 20, messages: user(marker()) });
  assert.deepEqual([answer.stop_reason, answer.usage.output_tokens], ["max_tokens", 20]);
});
