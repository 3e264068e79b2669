// OpenAI's SDK with Chat Completions, and a provider of each format behind the gateway.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { clientFor, collect, contentOf, DIRECT, marker, PICTURE, refusal, SCHEMA, user } from "./environment.mjs";
import { assertAsked, FORMATS } from "./formats.mjs";
import { ended, requestsWith } from "./journal.mjs";
import { keyWithoutLimits } from "./tenants.mjs";

const key = await keyWithoutLimits();
const client = clientFor(key);
const tools = [
  { type: "function", function: { name: "weather", description: "The weather", parameters: SCHEMA, strict: true } },
];
const skipCache = { headers: { "x-tollgate-cache": "skip" } };
const formats = DIRECT ? ["chat"] : Object.keys(FORMATS);

for (const name of formats) {
  const { provider } = FORMATS[name];
  const mark = marker();
  const asked = (about, model, more = {}) => ({
    model: `${provider}/${model}`,
    max_completion_tokens: 200,
    messages: [{ role: "system", content: "Be brief." }, ...user(`${mark} ${about}`)],
    ...more,
  });
  const create = (...args) => client.chat.completions.create(asked(...args), skipCache);

  test(`${name}: an answer`, async () => {
    const answer = await create("answer", "sim-t1-i1-n12-r5", { temperature: 0.5, stop: ["never said"] });
    assert.deepEqual(
      [answer.object, answer.choices.length, answer.choices[0].finish_reason],
      ["chat.completion", 1, "stop"],
    );
    assert.equal(answer.choices[0].message.content.split(" ").length, 12);
    const { prompt_tokens: prompt, completion_tokens: completion, total_tokens: total } = answer.usage;
    assert.deepEqual([completion, total, answer.usage.prompt_tokens_details.cached_tokens], [12, prompt + 12, 5]);
    assertAsked(name, await ended(`${mark} answer`));
  });

  test(`${name}: a stream`, async () => {
    const whole = await create("stream", "sim-t1-i1-n12");
    const chunks = await collect(
      await create("stream", "sim-t1-i1-n12", { stream: true, stream_options: { include_usage: true } }),
    );
    assert.equal(chunks.map(contentOf).join(""), whole.choices[0].message.content);
    assert.equal(new Set(chunks.map(({ id }) => id)).size, 1);
    assert.equal(chunks[0].choices[0].delta.role, "assistant");
    const last = chunks.pop();
    assert.deepEqual([last.choices, last.usage.completion_tokens], [[], 12]);
    assert.equal(last.usage.prompt_tokens, whole.usage.prompt_tokens);
    assert.equal(chunks.pop().choices[0].finish_reason, "stop");
    assertAsked(name, (await requestsWith(`${mark} stream`)).at(-1), { stream: true });
    const silent = await collect(await create("silent", "sim-t1-i1-n12", { stream: true }));
    assert.ok(silent.every((chunk) => chunk.choices.length === 1 && !chunk.usage));
  });

  test(`${name}: a cap on the tokens`, async () => {
    const answer = await create("cap", "sim-t1-i0-n40", { max_completion_tokens: 20 });
    assert.deepEqual([answer.choices[0].finish_reason, answer.usage.completion_tokens], ["length", 20]);
    const chunks = await collect(await create("cap", "sim-t1-i0-n40", { max_completion_tokens: 20, stream: true }));
    assert.equal(chunks.at(-1).choices[0].finish_reason, "length");
  });

  test(`${name}: without a cap`, async () => {
    assert.equal(
      (await create("uncapped", "sim-t1-i0-n12", { max_completion_tokens: undefined })).usage.completion_tokens,
      12,
    );
  });

  test(`${name}: tools called together, streamed, and answered`, async () => {
    const runner = client.chat.completions.stream(asked("tools", "sim-t1-i0-p2", { tools }));
    let pieces = 0;
    runner.on("tool_calls.function.arguments.delta", ({ arguments_delta: piece }) => {
      if (piece) pieces += 1;
    });
    const {
      choices: [{ message, finish_reason: finish }],
    } = await runner.finalChatCompletion();
    assert.equal(finish, "tool_calls");
    // Gemini gives each call whole.
    assert.ok(name === "gemini" ? pieces === 2 : pieces > 4, `${pieces} pieces`);
    assert.deepEqual(
      message.tool_calls.map((call) => [call.type, call.function.name, JSON.parse(call.function.arguments).days]),
      [
        ["function", "weather", 2],
        ["function", "weather", 2],
      ],
    );
    assert.notEqual(message.tool_calls[0].id, message.tool_calls[1].id);
    const results = message.tool_calls.map(({ id }) => ({
      role: "tool",
      tool_call_id: id,
      content: '{"degrees":12}',
    }));
    const second = await create("tools", "sim-t1-i0", {
      tools,
      messages: [...user(`${mark} tools`), message, ...results],
    });
    assert.equal(second.choices[0].finish_reason, "stop");
    assert.ok(second.choices[0].message.content);
    const [one, two] = await requestsWith(`${mark} tools`);
    assertAsked(name, one, { stream: true, tools: ["weather"] });
    assertAsked(name, two, { tools: ["weather"] });
  });

  test(`${name}: a tool that must be called`, async () => {
    const other = { type: "function", function: { name: "tides", parameters: SCHEMA } };
    const answer = await create("forced", "sim-t1-i0", {
      tools: [...tools, other],
      tool_choice: { type: "function", function: { name: "tides" } },
    });
    assert.equal(answer.choices[0].message.tool_calls[0].function.name, "tides");
  });

  test(`${name}: structured output`, async () => {
    const format = { type: "json_schema", json_schema: { name: "weather", strict: true, schema: SCHEMA } };
    const answer = await client.chat.completions.parse(
      asked("structured", "sim-t1-i0", { response_format: format }),
      skipCache,
    );
    assert.equal(JSON.parse(answer.choices[0].message.content).days, 2);
  });

  test(`${name}: a picture`, async () => {
    const content = [
      { type: "text", text: `${mark} picture` },
      { type: "image_url", image_url: { url: `data:image/png;base64,${PICTURE}` } },
    ];
    const answer = await create("", "sim-t1-i0", { messages: [{ role: "user", content }] });
    assert.ok(answer.usage.prompt_tokens > 85);
    assertAsked(name, await ended(`${mark} picture`), { picture: true });
  });
}

const gatewayFormats = DIRECT ? [] : Object.keys(FORMATS);
const once = clientFor(key, { maxRetries: 0 });
for (const name of gatewayFormats) {
  const { provider } = FORMATS[name];
  const asked = (model, mark, more = {}) => ({
    model: `${provider}/sim-${model}-${mark}`,
    messages: user(mark),
    ...more,
  });

  test(`${name}: a provider that fails`, async () => {
    for (const stream of [false, true]) {
      const error = await refusal(once.chat.completions.create(asked("e500", marker(), { stream })));
      assert.ok(error instanceof OpenAI.InternalServerError);
      assert.deepEqual([error.status, error.type, error.code], [502, "api_error", "upstream_error"]);
    }
  });

  test(`${name}: a provider that fails in mid-stream`, async () => {
    for (const fault of ["o3", "x3", "half"]) {
      const mark = marker();
      let text = "";
      const error = await refusal(
        (async () => {
          for await (const chunk of await once.chat.completions.create(
            asked(`t1-i5-${fault}`, mark, { stream: true }),
          ))
            text += contentOf(chunk);
        })(),
      );
      assert.ok(
        error instanceof OpenAI.APIError && !(error instanceof OpenAI.APIConnectionError),
        `${fault}: ${error.message}`,
      );
      assert.notEqual(text, "", fault);
    }
  });

  test(`${name}: leaving the loop ends the stream at the provider`, async () => {
    const mark = marker();
    let seen = 0;
    for await (const chunk of await client.chat.completions.create(asked("i100-n100", mark, { stream: true }))) {
      if (contentOf(chunk)) seen += 1;
      if (seen === 3) break;
    }
    const entry = await ended(mark);
    assert.equal(entry.ended, "client_gone");
    assert.ok(entry.chunks_sent.length < 30);
  });
}
