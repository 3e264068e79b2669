// OpenAI's SDK with Responses, and a provider of each format behind the gateway.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { clientFor, collect, DIRECT, marker, PICTURE, refusal, SCHEMA } from "./environment.mjs";
import { assertAsked, FORMATS } from "./formats.mjs";
import { ended, requestsWith } from "./journal.mjs";
import { keyWithoutLimits } from "./tenants.mjs";

const key = await keyWithoutLimits();
const client = clientFor(key);
const tools = [{ type: "function", name: "weather", description: "The weather", parameters: SCHEMA, strict: true }];
const skipCache = { headers: { "x-tollgate-cache": "skip" } };
// A provider that speaks both formats is asked in the client's.
const formats = DIRECT ? ["responses"] : Object.keys(FORMATS).filter((name) => name !== "azure");
const calls = ({ output }) => output.filter(({ type }) => type === "function_call");

for (const name of formats) {
  const { provider } = FORMATS[name];
  const mark = marker();
  const asked = (about, model, more = {}) => ({
    model: `${provider}/${model}`,
    instructions: "Be brief.",
    input: `How far? ${mark} ${about}`,
    ...more,
  });
  const create = (...args) => client.responses.create(asked(...args), skipCache);

  test(`${name}: a response`, async () => {
    const answer = await create("response", "sim-t1-i1-n12-r5", { max_output_tokens: 100 });
    assert.match(answer.id, /^resp_/);
    assert.deepEqual([answer.object, answer.status, answer.output.length], ["response", "completed", 1]);
    assert.equal(answer.output_text.split(" ").length, 12);
    assert.deepEqual([answer.usage.output_tokens, answer.usage.input_tokens_details.cached_tokens], [12, 5]);
    assertAsked(name, await ended(`${mark} response`));
  });

  test(`${name}: a stream`, async () => {
    const whole = await create("stream", "sim-t1-i1-n12");
    const runner = client.responses.stream(asked("stream", "sim-t1-i1-n12"), skipCache);
    const events = await collect(runner);
    assert.deepEqual(
      events.map((event) => event.sequence_number),
      events.map((_, at) => at),
    );
    assert.deepEqual(
      events.map(({ type }) => type).filter((type, at, all) => type !== all[at - 1]),
      [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
      ],
    );
    const final = await runner.finalResponse();
    assert.equal(final.output_text, whole.output_text);
    assert.deepEqual([final.usage.input_tokens, final.usage.output_tokens], [whole.usage.input_tokens, 12]);
    assertAsked(name, (await requestsWith(`${mark} stream`)).at(-1), { stream: true });
  });

  test(`${name}: a cap on the tokens`, async () => {
    const answer = await create("cap", "sim-t1-i0-n40", { max_output_tokens: 20 });
    assert.deepEqual([answer.status, answer.incomplete_details.reason], ["incomplete", "max_output_tokens"]);
    assert.equal(answer.usage.output_tokens, 20);
  });

  test(`${name}: tools called together, streamed, and answered`, async () => {
    const runner = client.responses.stream(asked("tools", "sim-t1-i0-p2", { tools }));
    const events = await collect(runner);
    const first = await runner.finalResponse();
    assert.deepEqual(
      calls(first).map(({ name: called, arguments: text }) => [called, JSON.parse(text).days]),
      [
        ["weather", 2],
        ["weather", 2],
      ],
    );
    const deltas = events.filter(({ type }) => type === "response.function_call_arguments.delta");
    assert.equal(
      deltas.map(({ delta }) => delta).join(""),
      calls(first)
        .map(({ arguments: text }) => text)
        .join(""),
    );
    const results = calls(first).map(({ call_id }) => ({
      type: "function_call_output",
      call_id,
      output: '{"degrees":12}',
    }));
    const input = [{ role: "user", content: `${mark} tools` }, ...first.output, ...results];
    const second = await create("", "sim-t1-i0", { input, tools });
    assert.ok(second.output_text);
    const [one, two] = await requestsWith(`${mark} tools`);
    assertAsked(name, one, { stream: true, tools: ["weather"] });
    assertAsked(name, two, { tools: ["weather"] });
  });

  test(`${name}: structured output`, async () => {
    const format = { type: "json_schema", name: "weather", strict: true, schema: SCHEMA };
    const answer = await client.responses.parse(asked("structured", "sim-t1-i0", { text: { format } }), skipCache);
    assert.equal(JSON.parse(answer.output_text).days, 2);
  });

  test(`${name}: a picture`, async () => {
    const content = [
      { type: "input_text", text: `${mark} picture` },
      { type: "input_image", detail: "auto", image_url: `data:image/png;base64,${PICTURE}` },
    ];
    const answer = await create("", "sim-t1-i0", { input: [{ role: "user", content }] });
    assert.ok(answer.usage.input_tokens > 85);
    assertAsked(name, await ended(`${mark} picture`), { picture: true });
  });

  test(`${name}: an error in mid-stream`, { skip: DIRECT && "needs the gateway" }, async () => {
    const error = await refusal(collect(client.responses.stream(asked("broken", `sim-t1-i5-o3-${marker()}`))));
    assert.ok(error instanceof OpenAI.OpenAIError, error.message);
    assert.ok(!(error instanceof OpenAI.APIConnectionError));
  });
}

test(
  "a provider that speaks both formats is asked in the client's",
  { skip: DIRECT && "needs the gateway" },
  async () => {
    const mark = marker();
    const answer = await client.responses.create({ model: "simulated-azure/sim-t1-i0", input: mark, store: false });
    assert.ok(answer.output_text);
    const entry = await ended(mark);
    assert.equal(entry.path, "/azure/v1/responses");
    assert.equal(entry.body.store, false);
  },
);
