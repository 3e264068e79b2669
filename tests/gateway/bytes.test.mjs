// Where client and provider speak the same format, bytes pass: whatever a provider writes, and however it is
// cut, the client gets that, and the provider gets what the client wrote, but for the model's name.
import assert from "node:assert/strict";
import http from "node:http";
import { after, before, describe, test } from "node:test";
import { call, until } from "./call.mjs";
import { openSite } from "./site.mjs";

const default_price = { input_usd_per_mtok: "0.50", output_usd_per_mtok: "1.50" };
/** What the gateway adds where a client asked for usage. */
const unbilled = (text) => text.replace(/"cost_usd":"[\d.]+",/g, "");

let site;
let tenant;
let provider;

/** A provider that sends what it was told to, in the pieces that it was told, and keeps what it was sent. */
async function startProvider() {
  const answers = new Map();
  const seen = new Map();
  const server = http.createServer((request, response) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", async () => {
      const text = Buffer.concat(chunks).toString();
      const [name] = /case-[\w-]+/.exec(text);
      seen.set(name, { text, path: request.url });
      const { type = "application/json", pieces, status = 200 } = answers.get(name);
      response.writeHead(status, { "content-type": type });
      response.socket.setNoDelay(true);
      for (const piece of pieces) {
        response.write(piece);
        // Each piece travels by itself.
        await new Promise((resolve) => setTimeout(resolve, pieces.length > 400 ? 0 : 2));
      }
      response.end();
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { server, url: `http://127.0.0.1:${server.address().port}`, answers, seen };
}

before(async () => {
  provider = await startProvider();
  const row = (format, path) => ({ base_url: `${provider.url}${path}`, formats: format, auth: "none", default_price });
  site = await openSite({
    env: { TOLLGATE_LOG: undefined },
    providers: () => ({ odd: row(["openai", "responses"], "/v1"), "odd-anthropic": row(["anthropic"], "/v1") }),
  });
  await site.restartAllowing(new URL(provider.url).host);
  tenant = await site.tenant("bytes");
});

after(async () => {
  provider?.server.close();
  if (!site) return;
  try {
    for (const line of site.log) assert.doesNotMatch(line, /panick|RuntimeError|object_failed|Uncaught|unreachable/);
  } finally {
    await site.close();
  }
});

let cases = 0;

/** Asks once. Resolves to the client's text, and what the provider was sent. */
async function pass({ path, body, provider: name = "odd" }, answer) {
  cases += 1;
  const id = `case-${cases}`;
  provider.answers.set(id, answer);
  const sent = body(`${name}/${id}`);
  const headers = { authorization: `Bearer ${tenant.key}`, "content-type": "application/json" };
  const got = await call(site.url + path, { method: "POST", headers, body: sent });
  const asked = provider.seen.get(id);
  assert.ok(asked, `not asked: ${got.text}`);
  assert.equal(asked.text, body(id), "the request");
  assert.equal(asked.path, path);
  return got;
}

// Odd spacing, escapes, doubled and unknown fields, numbers that no reader keeps: all of it is the client's own.
const odd = `"x" : [ 1e309, -0.0 ,"\\u00e9\\ud83d\\ude00" ],\n\t"x":{ }`;
const CHAT = { path: "/v1/chat/completions", body: (m) => ` { ${odd}, "model" :"${m}","messages":[ {"role":"user","content":"h\\u0069"} ] } ` };
const RESPONSES = { path: "/v1/responses", body: (m) => `{"input": "hi",${odd}, "model":"${m}"}` };
const MESSAGES = { path: "/v1/messages", provider: "odd-anthropic", body: (m) => `{"max_tokens":9,"model":"${m}",${odd},"messages":[{"role":"user","content":"hi"}]}` };
const COUNT = { path: "/v1/messages/count_tokens", provider: "odd-anthropic", body: (m) => `{"model":"${m}",${odd},"messages":[{"role":"user","content":"hi"}]}` };
const EMBEDDINGS = { path: "/v1/embeddings", body: (m) => `{"input":["a", "b"],"model":"${m}",${odd}}` };

describe("whole answers", () => {
  const texts = {
    chat: [CHAT, `\n{"id":"a","choices":[ {"message":{"content":"\\u0041"}} ], ${odd},"usage":{"prompt_tokens":3,"completion_tokens":1} }\n`],
    responses: [RESPONSES, `{"object":"response",${odd},"output":[],"usage":{"input_tokens":3,"output_tokens":1}}  `],
    messages: [MESSAGES, `{ "type":"message",${odd},"content":[{"type":"text","text":"a"}],"usage":{"input_tokens":3,"output_tokens":1}}`],
    "a count of tokens": [COUNT, `{ "input_tokens" : 7 , ${odd.replace("1e309", "1E30")}}`],
    embeddings: [EMBEDDINGS, `{"data":[{"embedding":[0.10,1E-2]}],${odd},"usage":{"prompt_tokens":3,"total_tokens":3}}`],
  };
  for (const [name, [asked, text]] of Object.entries(texts)) {
    test(name, async () => {
      for (const pieces of [[text], [...text]]) {
        const got = await pass(asked, { pieces });
        assert.deepEqual([got.status, got.text], [200, text]);
      }
    });
  }
});

const USAGE = `{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}`;
const chunk = (delta, finish = "null", more = "") => `data: {"id":"c","choices":[{"index":0,"delta":${delta},"finish_reason":${finish}}]${more}}\n\n`;
const STREAMS = {
  chat: {
    asked: { ...CHAT, body: (m) => `{"stream":true,"stream_options":{"include_usage":true},"model":"${m}",${odd},"messages":[{"role":"user","content":"hi"}]}` },
    text: `${chunk(`{"role":"assistant","content":""}`)}${chunk(`{"content":"é😀"}`)}${chunk("{}", `"stop"`)}data: {"id":"c","choices":[],"usage":${USAGE}}\n\ndata: [DONE]\n\n`,
    end: "data: [DONE]\n\n",
    filler: (size) => chunk(`{"content":"${"x".repeat(size)}"}`),
  },
  responses: {
    asked: { ...RESPONSES, body: (m) => `{"stream":true,"input":"hi",${odd},"model":"${m}"}` },
    text:
      `event: response.created\ndata: {"type":"response.created","response":{"id":"r"}}\n\n` +
      `event: response.output_item.added\ndata: {"type":"response.output_item.added","output_index":0,"item":{"id":"m","type":"message","content":[]}}\n\n` +
      `event: response.output_text.delta\ndata: {"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"é😀"}\n\n` +
      `event: response.completed\ndata: {"type":"response.completed","response":{"id":"r","status":"completed","output":[],"usage":{"input_tokens":5,"output_tokens":2}}}\n\n`,
    filler: (size) => `event: response.output_text.delta\ndata: {"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"${"x".repeat(size)}"}\n\n`,
  },
  messages: {
    asked: { ...MESSAGES, body: (m) => `{"stream":true,"max_tokens":9,"model":"${m}",${odd},"messages":[{"role":"user","content":"hi"}]}` },
    text:
      `event: message_start\ndata: {"type":"message_start","message":{"id":"m","usage":{"input_tokens":5,"output_tokens":1}}}\n\n` +
      `event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n` +
      `event: ping\ndata: {"type": "ping"}\n\n` +
      `event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"é😀"}}\n\n` +
      `event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n` +
      `event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}\n\n` +
      `event: message_stop\ndata: {"type":"message_stop"}\n\n`,
    end: `event: message_stop\ndata: {"type":"message_stop"}\n\n`,
    filler: (size) => `event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"${"x".repeat(size)}"}}\n\n`,
  },
};

for (const [name, { asked, text, end, filler }] of Object.entries(STREAMS)) {
  describe(`streams of ${name}`, () => {
    /** The client gets these bytes, and the ledger what they cost: 5 tokens in and 2 out. */
    async function same(bytes, pieces = [bytes], charged = 5 * 500 + 2 * 1500) {
      const before = (await tenant.settled()).spent_usd;
      const got = await pass(asked, { type: "text/event-stream", pieces });
      assert.deepEqual([got.status, got.error], [200, null]);
      assert.equal(unbilled(got.text), bytes.toString());
      const spent = await until("it is settled", async () => {
        const now = (await tenant.settled()).spent_usd;
        return now !== before && Math.round((now - before) * 1e9);
      });
      assert.equal(spent, charged);
    }

    test("as they are, in one piece, byte for byte, and cut inside characters", async () => {
      const bytes = Buffer.from(text);
      await same(bytes);
      await same(bytes, Array.from(bytes, (byte) => Buffer.of(byte)));
      await same(bytes, Array.from({ length: Math.ceil(bytes.length / 7) }, (_, i) => bytes.subarray(i * 7, i * 7 + 7)));
    });

    test("with other line ends, a byte order mark, comments, unknown fields and events", async () => {
      for (const lineEnd of ["\r\n", "\r"]) await same(Buffer.from(text.replaceAll("\n", lineEnd)));
      await same(Buffer.from(`\ufeff${text}`));
      await same(Buffer.from(`: hello\n\nid: 1\nretry: 9\n${text}`));
      await same(Buffer.from(text.replaceAll("data: ", "data:")));
    });

    test("with a line of 5 MB", async () => {
      const size = 5 * 1024 * 1024;
      const at = text.indexOf("é😀");
      const start = text.lastIndexOf("\n\n", at) + 2;
      const long = Buffer.from(text.slice(0, start) + filler(size) + text.slice(start));
      const pieces = Array.from({ length: Math.ceil(long.length / 65_536) }, (_, i) => long.subarray(i * 65_536, (i + 1) * 65_536));
      await same(long, pieces);
    });

    if (end) {
      test("without the mark of its end, where the answer said why it finished", () => same(Buffer.from(text.slice(0, -end.length))));
    }

    if (name === "chat") {
      test("with usage told twice: the last one counts", () => {
        const first = `data: {"id":"c","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n`;
        return same(Buffer.from(text.replace(`data: {"id":"c","choices":[],"usage"`, `${first}data: {"id":"c","choices":[],"usage"`)));
      });
    }
  });
}
