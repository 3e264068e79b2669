// Amazon's own SDK straight against the simulated provider; and Cloudflare's path for embeddings, which has none.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  AccessDeniedException,
  BedrockRuntimeClient,
  ConverseCommand,
  ConverseStreamCommand,
  CountTokensCommand,
  InvokeModelCommand,
  ModelStreamErrorException,
  ThrottlingException,
  ValidationException,
} from "@aws-sdk/client-bedrock-runtime";
import { NodeHttpHandler } from "@smithy/node-http-handler";
import { exchange, startSimulator } from "./start.mjs";
import { collect, PICTURE, QUESTION, refusal, SCHEMA } from "./weather.mjs";

const toolConfig = { tools: [{ toolSpec: { name: "weather", inputSchema: { json: SCHEMA } } }] };
const messages = [{ role: "user", content: [{ text: QUESTION }] }];
let simulator;
let client;
const clientFor = (options) =>
  new BedrockRuntimeClient({
    region: "eu-central-1",
    endpoint: `${simulator.url}/bedrock`,
    maxAttempts: 1,
    // Its default for Bedrock is HTTP/2, which the simulator does not speak.
    requestHandler: new NodeHttpHandler(),
    credentials: { accessKeyId: "AKIASIMULATED", secretAccessKey: "simulated-secret", sessionToken: "a-session" },
    ...options,
  });
before(async () => {
  simulator = await startSimulator("--ttft-ms", "1", "--itl-ms", "0", "--tokens", "12");
  client = clientFor();
});
after(() => simulator.stop());
const ask = (modelId, more = {}) => client.send(new ConverseCommand({ modelId, messages, ...more }));
const stream = async (modelId, more = {}) =>
  collect((await client.send(new ConverseStreamCommand({ modelId, messages, ...more }))).stream);
const invoke = async (modelId, body) => {
  const answer = await client.send(new InvokeModelCommand({ modelId, body: JSON.stringify(body) }));
  return JSON.parse(Buffer.from(answer.body).toString());
};

test("an answer", async () => {
  const answer = await ask("maker.sim-r4-w3-v1:0", { system: [{ text: "Be brief." }] });
  assert.equal(answer.output.message.content[0].text.split(" ").length, 12);
  assert.equal(answer.stopReason, "end_turn");
  const { inputTokens, cacheReadInputTokens, cacheWriteInputTokens, outputTokens, totalTokens } = answer.usage;
  assert.deepEqual(
    [inputTokens, cacheReadInputTokens, cacheWriteInputTokens, outputTokens, totalTokens],
    [11, 4, 3, 12, 30],
  );
  assert.equal((await ask("sim", { inferenceConfig: { maxTokens: 3 } })).stopReason, "max_tokens");
});

test("a streamed answer", async () => {
  const whole = await ask("sim-think");
  const events = await stream("sim-think");
  const deltas = events.flatMap(({ contentBlockDelta: event }) => (event ? [event.delta] : []));
  assert.equal(deltas.map(({ text }) => text ?? "").join(""), whole.output.message.content[1].text);
  assert.equal(
    deltas.map(({ reasoningContent }) => reasoningContent?.text ?? "").join(""),
    whole.output.message.content[0].reasoningContent.reasoningText.text,
  );
  assert.deepEqual(events.at(-2), { messageStop: { stopReason: "end_turn" } });
  assert.equal(events.at(-1).metadata.usage.outputTokens, 18);
});

test("tools, streamed, answered", async () => {
  const calls = [];
  for (const { contentBlockStart: begun, contentBlockDelta: event } of await stream("sim-p2", { toolConfig })) {
    if (begun?.start.toolUse) calls[begun.contentBlockIndex] = { ...begun.start.toolUse, input: "" };
    if (event?.delta.toolUse) calls[event.contentBlockIndex].input += event.delta.toolUse.input;
  }
  assert.deepEqual(
    calls.map(({ name, input }) => [name, JSON.parse(input).days]),
    [
      ["weather", 2],
      ["weather", 2],
    ],
  );
  const uses = calls.map((call) => ({ toolUse: { ...call, input: JSON.parse(call.input) } }));
  const results = calls.map(({ toolUseId }) => ({ toolResult: { toolUseId, content: [{ text: "rain" }] } }));
  const talk = (content) => ({
    messages: [...messages, { role: "assistant", content: uses }, { role: "user", content }],
  });
  const second = await ask("sim", { ...talk(results), toolConfig });
  assert.ok(second.output.message.content[0].text);
  for (const wrong of [{ ...talk(results.slice(1)), toolConfig }, talk(results)]) {
    assert.ok((await refusal(ask("sim", wrong))) instanceof ValidationException);
  }
});

test("structured output, a picture, counting and embeddings", async () => {
  const structure = { jsonSchema: { name: "weather", schema: JSON.stringify(SCHEMA) } };
  const answer = await ask("sim", { outputConfig: { textFormat: { type: "json_schema", structure } } });
  assert.equal(JSON.parse(answer.output.message.content[0].text).days, 2);
  const image = { image: { format: "png", source: { bytes: Buffer.from(PICTURE, "base64") } } };
  const seen = await ask("sim", { messages: [{ role: "user", content: [...messages[0].content, image] }] });
  assert.equal(seen.usage.inputTokens, 97);
  const counted = await client.send(new CountTokensCommand({ modelId: "sim", input: { converse: { messages } } }));
  assert.equal(counted.inputTokens, 12);
  const titan = await invoke("amazon.titan-embed-text-v2:0", { inputText: "one", dimensions: 256 });
  assert.deepEqual([titan.embedding.length, titan.inputTextTokenCount], [256, 1]);
  const cohere = await invoke("cohere.embed-v4:0", {
    texts: ["one", "two"],
    input_type: "search_query",
    embedding_types: ["float"],
  });
  assert.equal(cohere.embeddings.float.length, 2);
});

test("what Amazon refuses, and errors", async () => {
  const wrong = [
    { messages: [] },
    { messages: [...messages, ...messages] },
    { messages: [{ role: "assistant", content: [{ text: "x" }] }] },
    { messages: [{ role: "user", content: [{ text: " " }] }] },
    { inferenceConfig: { temperature: 1.5 } },
    { toolConfig: { tools: [] } },
  ];
  for (const more of wrong)
    assert.ok((await refusal(ask("sim", more))) instanceof ValidationException, JSON.stringify(more));
  assert.ok((await refusal(ask("sim-e429"))) instanceof ThrottlingException);
  assert.ok((await refusal(ask("sim-e403"))) instanceof AccessDeniedException);
  assert.ok((await refusal(stream("sim-o3"))) instanceof ModelStreamErrorException);
  await assert.rejects(stream("sim-badjson"), /checksum/i);
});

test("signatures are verified, and Bedrock's own keys are taken", async () => {
  const send = (one) => one.send(new ConverseCommand({ modelId: "sim:0", messages }));
  const forged = clientFor({ credentials: { accessKeyId: "AKIASIMULATED", secretAccessKey: "another-secret" } });
  const error = await refusal(send(forged));
  assert.deepEqual([error.name, error.$metadata.httpStatusCode], ["InvalidSignatureException", 403]);
  const withKey = (token) =>
    clientFor({ token: async () => ({ token }), authSchemePreference: ["httpBearerAuth"] });
  assert.ok((await send(withKey("a-bedrock-key"))).output);
  assert.ok((await refusal(send(withKey("bad-key")))) instanceof AccessDeniedException);
  const { status, headers } = await exchange(
    simulator.url,
    { messages },
    { path: "/bedrock/model/sim/converse", key: null },
  );
  assert.equal(status, 403);
  assert.match(headers["x-amzn-errortype"], /^MissingAuthenticationTokenException/);
});

test("Workers AI", async () => {
  const path = "/workers-ai/run/@cf/baai/bge-m3";
  const { status, text } = await exchange(simulator.url, { text: ["one", "two"] }, { path });
  const { success, result } = JSON.parse(text);
  assert.deepEqual([status, success, result.shape, result.data.length], [200, true, [2, 64], 2]);
  for (const [body, key, expected] of [
    [{}, "any", 400],
    [{ text: "one" }, null, 401],
  ]) {
    const answer = await exchange(simulator.url, body, { path, key });
    assert.deepEqual([answer.status, JSON.parse(answer.text).success], [expected, false]);
  }
});
