// Anthropic's SDK, with a provider of each format behind the gateway.

import assert from "node:assert/strict";
import { test } from "node:test";
import { anthropicFor, collect, DIRECT, gateway, marker, PICTURE, SCHEMA, user } from "./environment.mjs";
import { assertAsked, FORMATS } from "./formats.mjs";
import { ended, requestsWith } from "./journal.mjs";
import { keyWithoutLimits, withTenant } from "./tenants.mjs";

const key = await keyWithoutLimits();
const client = anthropicFor(key);
const tools = [{ name: "weather", description: "The weather of the next days", input_schema: SCHEMA }];
const skipCache = { headers: { "x-tollgate-cache": "skip" } };
/** Without the blocks in which a signature travels that belongs to no thinking. */
const calls = ({ content }) => content.filter(({ type }) => type === "tool_use");
const formats = DIRECT ? ["anthropic"] : Object.keys(FORMATS);

for (const name of formats) {
  const { provider } = FORMATS[name];
  const mark = marker();
  const asked = (about, model, more = {}) => ({
    model: `${provider}/${model}`,
    max_tokens: 200,
    messages: user(`${mark} ${about}`),
    ...more,
  });

  test(`${name}: a message`, async () => {
    const answer = await client.messages.create(asked("message", "sim-t1-i1-n12", { system: "Be brief." }));
    assert.match(answer.id, /^msg_/);
    assert.deepEqual(
      [answer.type, answer.role, answer.stop_reason, answer.content.length],
      ["message", "assistant", "end_turn", 1],
    );
    assert.equal(answer.content[0].text.split(" ").length, 12);
    assert.equal(answer.usage.output_tokens, 12);
    const entry = await ended(`${mark} message`);
    assertAsked(name, entry);
    assert.ok(JSON.stringify(entry.body).includes("Be brief."));
  });

  test(`${name}: a stream`, async () => {
    const whole = await client.messages.create(asked("stream", "sim-t1-i1-n12"), skipCache);
    const runner = client.messages.stream(asked("stream", "sim-t1-i1-n12"), skipCache);
    let text = "";
    runner.on("text", (delta) => {
      text += delta;
    });
    const final = await runner.finalMessage();
    assert.equal(text, whole.content[0].text);
    assert.deepEqual([final.content[0].text, final.stop_reason], [text, "end_turn"]);
    assert.deepEqual([final.usage.input_tokens, final.usage.output_tokens], [whole.usage.input_tokens, 12]);
    assertAsked(name, (await requestsWith(`${mark} stream`)).at(-1), { stream: true });
  });

  test(`${name}: a cap on the tokens`, async () => {
    const answer = await client.messages.create(asked("cap", "sim-t1-i0-n40", { max_tokens: 20 }));
    assert.deepEqual([answer.stop_reason, answer.usage.output_tokens], ["max_tokens", 20]);
  });

  test(`${name}: tools called together, streamed, and answered`, async () => {
    const runner = client.messages.stream(asked("tools", "sim-t1-i0-p2", { tools }));
    let pieces = 0;
    runner.on("inputJson", (delta) => {
      if (delta !== "") pieces += 1;
    });
    const first = await runner.finalMessage();
    assert.equal(first.stop_reason, "tool_use");
    assert.deepEqual(
      calls(first).map(({ name: called, input }) => [called, input.days]),
      [
        ["weather", 2],
        ["weather", 2],
      ],
    );
    assert.notEqual(calls(first)[0].id, calls(first)[1].id);
    assert.ok(pieces >= 2);
    const content = calls(first).map(({ id }) => ({
      type: "tool_result",
      tool_use_id: id,
      content: '{"degrees":12}',
    }));
    const second = await client.messages.create(
      asked("tools", "sim-t1-i0", {
        tools,
        messages: [
          ...user(`${mark} tools`),
          { role: "assistant", content: first.content },
          { role: "user", content },
        ],
      }),
    );
    assert.equal(second.content[0].type, "text");
    const [one, two] = await requestsWith(`${mark} tools`);
    assertAsked(name, one, { stream: true, tools: ["weather"] });
    assertAsked(name, two, { tools: ["weather"] });
  });

  test(`${name}: a tool that must be called, and none`, async () => {
    const other = { ...tools[0], name: "tides" };
    const forced = await client.messages.create(
      asked("forced", "sim-t1-i0", {
        tools: [...tools, other],
        tool_choice: { type: "tool", name: "tides" },
      }),
    );
    assert.equal(calls(forced)[0].name, "tides");
    const none = await client.messages.create(asked("mute", "sim-t1-i0", { tools, tool_choice: { type: "none" } }));
    assert.equal(none.content[0].type, "text");
  });

  test(`${name}: structured output`, async () => {
    const format = { type: "json_schema", schema: SCHEMA };
    const answer = await client.messages.parse(asked("structured", "sim-t1-i0", { output_config: { format } }));
    assert.equal(JSON.parse(answer.content[0].text).days, 2);
  });

  test(`${name}: a picture`, async () => {
    const image = { type: "image", source: { type: "base64", media_type: "image/png", data: PICTURE } };
    const content = [{ type: "text", text: `${mark} picture` }, image];
    const answer = await client.messages.create(asked("", "sim-t1-i0", { messages: [{ role: "user", content }] }));
    assert.ok(answer.usage.input_tokens > 85);
    assertAsked(name, await ended(`${mark} picture`), { picture: true });
  });

  test(`${name}: what was read from a cache is told apart`, async () => {
    const answer = await client.messages.create(asked("cached", "sim-t1-i0-r5"));
    assert.equal(answer.usage.cache_read_input_tokens, 5);
    const final = await client.messages.stream(asked("cached too", "sim-t1-i0-r5")).finalMessage();
    assert.equal(final.usage.cache_read_input_tokens, 5);
    assert.ok(final.usage.input_tokens > 0);
  });

  test(`${name}: counting tokens`, async () => {
    const { input_tokens: tokens } = await client.messages.countTokens({
      model: `${provider}/sim-t1`,
      messages: user("Count this."),
      tools,
    });
    assert.ok(Number.isInteger(tokens) && tokens > 10);
  });
}

for (const name of formats.filter((one) => ["anthropic", "bedrock"].includes(one))) {
  test(`${name}: thinking and its signature`, async () => {
    const mark = marker();
    const asked = {
      model: `${FORMATS[name].provider}/sim-t1-i0-n8-think`,
      max_tokens: 4_000,
      messages: user(mark),
    };
    const final = await client.messages
      .stream({ ...asked, thinking: { type: "enabled", budget_tokens: 2_000 } })
      .finalMessage();
    assert.deepEqual(
      final.content.map(({ type }) => type),
      ["thinking", "text"],
    );
    assert.ok(final.content[0].thinking && final.content[0].signature);
    const again = await client.messages.create({
      ...asked,
      messages: [
        ...user(mark),
        { role: "assistant", content: final.content },
        { role: "user", content: "And back?" },
      ],
    });
    assert.equal(again.content[0].type, "thinking");
    const back = JSON.stringify((await requestsWith(mark)).at(-1).body);
    assert.ok(back.includes(final.content[0].signature), "the signature did not go back");
  });
}

test("gemini: a call goes back with its signature", { skip: DIRECT && "needs the gateway" }, async () => {
  const mark = marker();
  const asked = { model: "simulated-gemini/gemini-3-sim-t1-i0", max_tokens: 200, tools };
  const first = await client.messages.create({ ...asked, messages: user(mark) });
  const result = { type: "tool_result", tool_use_id: calls(first)[0].id, content: "rain" };
  for (const content of [first.content, calls(first)]) {
    // The provider refuses a call without it; one whose signature was lost on the way is excused.
    const messages = [...user(mark), { role: "assistant", content }, { role: "user", content: [result] }];
    assert.equal((await client.messages.create({ ...asked, messages })).content[0].type, "text");
  }
  const [, whole] = await requestsWith(mark);
  assert.equal(
    whole.body.contents[1].parts[0].thoughtSignature,
    Buffer.from("a simulated thought").toString("base64"),
  );
});

test(
  "anthropic: versions and betas pass, the client's key does not",
  { skip: DIRECT && "needs the gateway" },
  async () => {
    for (const version of ["2026-10-21", "2023-06-01"]) {
      const mark = marker();
      const headers = { "anthropic-version": version, "anthropic-beta": "one-2026-01-01,two-2026-01-01" };
      const asked = {
        model: "simulated-anthropic/sim-t1-i0",
        max_tokens: 50,
        messages: user(mark),
        metadata: { user_id: "someone" },
      };
      await client.messages.create(asked, { headers });
      const { headers: sent, body } = await ended(mark);
      const named = Object.fromEntries(
        Object.entries(sent).map(([name, content]) => [name.toLowerCase(), content]),
      );
      assert.deepEqual([named["anthropic-version"], named["anthropic-beta"]], [version, headers["anthropic-beta"]]);
      assert.deepEqual([named["x-api-key"], named.authorization], ["simulated", undefined]);
      assert.deepEqual(body, { ...asked, model: "sim-t1-i0" });
    }
  },
);

test("events come one by one", async () => {
  const mark = marker();
  const came = [];
  const stream = await client.messages.create({
    model: `${FORMATS[formats.includes("chat") ? "chat" : "anthropic"].provider}/sim-t50-i300-n4`,
    max_tokens: 50,
    messages: user(mark),
    stream: true,
  });
  for await (const event of stream) if (event.type === "content_block_delta") came.push(Date.now());
  const { chunks_sent: sent } = await ended(mark);
  assert.deepEqual([came.length, sent.length], [4, 4]);
  for (let at = 0; at < 3; at += 1) assert.ok(came[at] < sent[at + 1], `token ${at + 1} was held back`);
});

test("leaving the loop ends the stream at the provider", async () => {
  const mark = marker();
  const { provider } = FORMATS[DIRECT ? "anthropic" : "gemini"];
  const stream = await client.messages.create({
    model: `${provider}/sim-i100-n100`,
    max_tokens: 200,
    messages: user(mark),
    stream: true,
  });
  let deltas = 0;
  for await (const event of stream) {
    if (event.type === "content_block_delta") deltas += 1;
    if (deltas === 3) break;
  }
  const entry = await ended(mark);
  assert.equal(entry.ended, "client_gone");
  assert.ok(entry.chunks_sent.length < 30);
});

test("the raw events of a translated stream are in Anthropic's order", async () => {
  const { provider } = FORMATS[DIRECT ? "anthropic" : "chat"];
  const asked = {
    model: `${provider}/sim-t1-i0-p2`,
    max_tokens: 200,
    messages: user(marker()),
    tools,
    stream: true,
  };
  const kinds = (await collect(await client.messages.create(asked)))
    .map(({ type }) => type)
    .filter((type, at, all) => type !== "ping" && type !== all[at - 1]);
  const block = ["content_block_start", "content_block_delta", "content_block_stop"];
  assert.deepEqual(kinds, ["message_start", ...block, ...block, "message_delta", "message_stop"]);
});

test("a stream that goes on at another target is one message", gateway, async () => {
  const mark = marker();
  const targets = [`simulated-anthropic/sim-x3-i5-${mark}`, `simulated/sim-n6-${mark}`];
  const config = { models: { m: { targets } }, retry: { on_broken_stream: "continue" }, unknown_price: "allow_and_flag" };
  await withTenant(config, async ({ key: newKey }) => {
    const own = anthropicFor((await newKey()).key, { maxRetries: 0 });
    const stream = own.messages.stream({ model: "m", max_tokens: 200, messages: user(`${mark} on`) });
    let text = "";
    stream.on("text", (delta) => { text += delta; });
    const message = await stream.finalMessage();
    assert.deepEqual(message.content, [{ type: "text", text }]);
    assert.deepEqual([message.stop_reason, message.usage.output_tokens], ["end_turn", 6]);
    assert.equal(text.split(" ").length >= 8, true);
  });
});
