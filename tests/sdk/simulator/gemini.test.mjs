// Google's own SDK straight against the simulated provider.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ApiError, GoogleGenAI } from "@google/genai";
import { exchange, startSimulator } from "./start.mjs";
import { collect, PICTURE, QUESTION, refusal, SCHEMA } from "./weather.mjs";

const tools = [{ functionDeclarations: [{ name: "weather", parametersJsonSchema: SCHEMA }] }];
let simulator;
const clientFor = (apiKey) => new GoogleGenAI({ apiKey, httpOptions: { baseUrl: `${simulator.url}/gemini` } });
let models;
before(async () => {
  simulator = await startSimulator("--ttft-ms", "1", "--itl-ms", "0", "--tokens", "12");
  ({ models } = clientFor("any"));
});
after(() => simulator.stop());
const ask = (model, config = {}, contents = QUESTION) => models.generateContent({ model, contents, config });

test("an answer", async () => {
  const answer = await ask("sim-r4", { systemInstruction: "Be brief.", temperature: 1.5 });
  assert.equal(answer.text.split(" ").length, 12);
  assert.equal(answer.candidates[0].finishReason, "STOP");
  assert.deepEqual(
    [answer.usageMetadata.candidatesTokenCount, answer.usageMetadata.cachedContentTokenCount],
    [12, 4],
  );
  assert.equal((await ask("sim", { maxOutputTokens: 3 })).candidates[0].finishReason, "MAX_TOKENS");
  assert.equal((await ask("sim", { candidateCount: 2 })).candidates.length, 2);
});

test("a streamed answer", async () => {
  const config = { thinkingConfig: { includeThoughts: true } };
  const whole = await ask("sim-think", config);
  const chunks = await collect(
    await models.generateContentStream({ model: "sim-think", contents: QUESTION, config }),
  );
  assert.equal(chunks.map((chunk) => chunk.text ?? "").join(""), whole.text);
  assert.equal(chunks.length, 19);
  assert.ok(chunks[0].candidates[0].content.parts[0].thought);
  const { usageMetadata: usage } = chunks.at(-1);
  assert.deepEqual(
    [usage.candidatesTokenCount, usage.thoughtsTokenCount, usage.totalTokenCount],
    [12, 6, usage.promptTokenCount + 18],
  );
  const silent = await ask("sim-think");
  assert.deepEqual([silent.candidates[0].content.parts.length, silent.usageMetadata.thoughtsTokenCount], [1, 6]);
});

test("tools, streamed, answered", async () => {
  const chunks = await collect(
    await models.generateContentStream({ model: "sim-p2", contents: QUESTION, config: { tools } }),
  );
  const calls = chunks.flatMap((chunk) => chunk.functionCalls ?? []);
  assert.deepEqual(
    calls.map(({ name, args }) => [name, args.days]),
    [
      ["weather", 2],
      ["weather", 2],
    ],
  );
  const talk = [
    { role: "user", parts: [{ text: QUESTION }] },
    { role: "model", parts: calls.map((functionCall) => ({ functionCall })) },
  ];
  const results = calls.map(({ id, name }) => ({ functionResponse: { id, name, response: { output: "rain" } } }));
  assert.ok((await ask("sim", { tools }, [...talk, { role: "user", parts: results }])).text);
  const error = await refusal(ask("sim", { tools }, [...talk, { role: "user", parts: results.slice(1) }]));
  assert.match(error.message, /number of function response parts/);
  // From version 3 on a call goes back with its signature, which comes beside it.
  const unsigned = [...talk, { role: "user", parts: results }];
  assert.match((await refusal(ask("gemini-3-sim", { tools }, unsigned))).message, /thought_signature/);
  const signed = chunks.flatMap((chunk) => chunk.candidates[0].content.parts).filter((part) => part.functionCall);
  assert.ok(
    (await ask("gemini-3-sim", { tools }, [talk[0], { role: "model", parts: signed }, unsigned.at(-1)])).text,
  );
});

test("structured output, a picture, counting and embeddings", async () => {
  const config = { responseMimeType: "application/json", responseJsonSchema: SCHEMA };
  assert.equal(JSON.parse((await ask("sim", config)).text).days, 2);
  const parts = [{ text: QUESTION }, { inlineData: { mimeType: "image/png", data: PICTURE } }];
  assert.equal((await ask("sim", {}, [{ role: "user", parts }])).usageMetadata.promptTokenCount, 97);
  assert.equal((await models.countTokens({ model: "sim", contents: QUESTION })).totalTokens, 12);
  const { embeddings } = await models.embedContent({
    model: "sim-embed",
    contents: ["one", "two"],
    config: { outputDimensionality: 8 },
  });
  assert.deepEqual(
    embeddings.map(({ values }) => values.length),
    [8, 8],
  );
});

test("what Google refuses, and errors", async () => {
  const bad = await refusal(clientFor("bad-key").models.generateContent({ model: "sim", contents: QUESTION }));
  assert.ok(bad instanceof ApiError);
  assert.equal(bad.status, 400);
  assert.match(bad.message, /API_KEY_INVALID/);
  const path = "/gemini/v1beta/models/sim:generateContent";
  const told = async (body, options = {}) => {
    const { status, text } = await exchange(simulator.url, body, { path, ...options });
    return [status, JSON.parse(text).error.status];
  };
  const contents = [{ parts: [{ text: QUESTION }] }];
  assert.deepEqual(await told({ contents }, { key: null }), [403, "PERMISSION_DENIED"]);
  const wrong = [
    {},
    { contents, max_tokens: 5 },
    { contents, generationConfig: { max_tokens: 5 } },
    { contents: [{ parts: [] }] },
    { contents: [{ role: "assistant", parts: [{ text: "x" }] }] },
    { contents, generationConfig: { temperature: 3 } },
  ];
  for (const body of wrong) assert.deepEqual(await told(body), [400, "INVALID_ARGUMENT"], JSON.stringify(body));
  for (const status of [404, 429, 500, 503]) assert.equal((await refusal(ask(`sim-e${status}`))).status, status);
  await assert.rejects(
    async () => collect(await models.generateContentStream({ model: "sim-o3", contents: QUESTION })),
    ApiError,
  );
});
