#!/usr/bin/env node
// A simulated model provider that speaks every format, for tests, demonstrations and load.

import http from "node:http";
import { parseArgs } from "node:util";
import { answerTo, told } from "./simulator/answer.mjs";
import { Control } from "./simulator/control.mjs";
import { errorFor, Refusal } from "./simulator/errors.mjs";
import { Journal } from "./simulator/journal.mjs";
import { planOf } from "./simulator/plan.mjs";
import { later, sendFault, sendJson, sendStream, sendWhole } from "./simulator/respond.mjs";
import { providerOf } from "./simulator/routes.mjs";

const HELP = `Usage: node scripts/simulator.mjs [options]

A simulated model provider on 127.0.0.1. It prints {"port":N,"pid":N} when it is ready.

Options
  --port N            port; 0 lets the system pick one (default 0)
  --ttft-ms N         time to the first token (default 20)
  --itl-ms N          time between tokens (default 5)
  --tokens N          tokens of an answer (default 32)
  --journal N         requests that the journal keeps (default 5000)
  --exit-with-parent  exit when the standard input is closed
  --help              this text

Providers, by their base URL, and where each wants its key. The key "bad-key" is refused.
  /v1                OpenAI: chat/completions, responses, embeddings, models. Authorization: Bearer
  /azure/v1          the same. api-key
  /anthropic/v1      Anthropic: messages, messages/count_tokens, models. x-api-key or Authorization: Bearer,
                     and anthropic-version
  /gemini/v1beta, /gemini/v1
                     Google: models, models/{m}:generateContent, :streamGenerateContent?alt=sse, :countTokens,
                     :batchEmbedContents, :embedContent. x-goog-api-key, or Authorization: Bearer
  /bedrock           Amazon: model/{m}/converse, converse-stream, count-tokens, and invoke for Titan's and
                     Cohere's embeddings. AWS Signature Version 4 with the secret "simulated-secret", which is
                     verified, or Authorization: Bearer
  /workers-ai        Cloudflare: run/{m} for embeddings, and OpenAI's paths below v1. Authorization: Bearer
  /run?version=3     Cloudflare: what the binding of Workers AI asks. No key. Models with "openai" in their name
                     answer in OpenAI's words, the others in Cloudflare's
Each refuses what the real one would refuse, in its own shape. Answers depend on the request alone. Streams
send tokens that are overdue in one write.

The model name steers the answer. Parts are split by "-", parts that mean nothing are ignored:
  tN first token after N ms      iN N ms between tokens        nN tokens
  lN whole answer after N ms (default: as long as its stream would take; l0 is at once)
  eNNN answer that status        xN reset the connection after N tokens
  pN call N tools instead of one              oN an error inside the stream after N tokens
  rN N prompt tokens read from a cache        wN N prompt tokens written to a cache
  think    thinks before it answers
  hang     never answers                 stall    3 tokens, then nothing
  rush     service_tier auto is served in priority     full   flex and priority are served in default
  untold   the answer does not name its service tier
  half     3 tokens, then a clean end without the events that end a stream
  short    3 tokens, then the connection is closed politely in the middle of the answer
  html     200 with a page               badjson  200 with broken JSON
  reset    resets the connection         redirect 302 to /redirected
  early    the stream's headers go out before its first token
  nousage  leaves usage out              bomb     50 MB of JSON in 50 KB of gzip
For a whole answer, x, stall, half and short send half of the body.

A prompt that begins with "[usage IN OUT]" or "[usage IN OUT CACHED]" has IN prompt tokens, CACHED of them read
from a cache, and is answered with OUT tokens.

Tools are called when the last message is the user's; response_format is answered with JSON that fits the
schema. Prompt tokens are 3, and for each message 3 and a quarter of its characters rounded up, and a
quarter of the tools' JSON. Completion tokens are the tokens sent.

POST /control    switches a fault of a model on or off while the simulator runs, for requests from then on:
  model              the model, without a provider
  fault              parts as above, such as "e503-l0": the model behaves as if its name ended with them;
                     null ends it
  share              0.5: every other request has it (default 1, all)
  until_ms           when it ends by itself, in milliseconds since 1970 (default: never)
  retry_after        the header retry-after of errors, as written ("5", "-1", "soon")
  retry_after_date_s the same as a date, so many seconds from each answer on
GET /control     the faults, and how many requests each has hit

GET /journal     what was asked and sent; ?contains=TEXT (in the body), ?model=NAME, ?limit=N
DELETE /journal  empties it
GET /stats       {"requests","open","streams_done","streams_cut"}
In the journal chunks_sent has one time per token. ended is null while a request runs, "done" when the
answer was sent, "cut" when the simulator broke it off, "client_gone" when the client did, and "hang" while
it is left waiting.`;

const MOST_BODY_BYTES = 32 * 1024 * 1024;
/** Longer than any client keeps a connection, so that the client is the one to close it. */
const KEEP_ALIVE_MS = 120_000;

function options() {
  const number = (name, text, most) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value > most) {
      console.error(`simulator: --${name} takes a whole number up to ${most}`);
      process.exit(2);
    }
    return value;
  };
  let values;
  try {
    ({ values } = parseArgs({
      options: {
        port: { type: "string", default: "0" },
        "ttft-ms": { type: "string", default: "20" },
        "itl-ms": { type: "string", default: "5" },
        tokens: { type: "string", default: "32" },
        journal: { type: "string", default: "5000" },
        "exit-with-parent": { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    }));
  } catch (error) {
    console.error(`simulator: ${error.message}; see --help`);
    process.exit(2);
  }
  if (values.help) {
    console.log(HELP);
    process.exit(0);
  }
  return {
    port: number("port", values.port, 65_535),
    exitWithParent: values["exit-with-parent"],
    kept: Math.max(1, number("journal", values.journal, 100_000)),
    defaults: {
      ttft: number("ttft-ms", values["ttft-ms"], 3_600_000),
      itl: number("itl-ms", values["itl-ms"], 3_600_000),
      tokens: number("tokens", values.tokens, 100_000),
    },
  };
}

const { port, exitWithParent, kept, defaults } = options();
const journal = new Journal(kept);
const control = new Control();

function handle(req, res) {
  const cut = req.url.indexOf("?");
  const path = cut < 0 ? req.url : req.url.slice(0, cut);
  const query = new URLSearchParams(cut < 0 ? "" : req.url.slice(cut));
  if (path === "/journal" || path === "/stats") return inspect(req, res, path, query);
  if (path === "/control") return void steer(req, res);
  const provider = providerOf(req.method, path, query);
  const entry = journal.begin(req, path, provider.format);
  res.once("close", () => entry.closed(res.writableFinished));
  res.on("error", () => {});
  try {
    if (path === "/redirected") return sendJson(res, entry, 200, { redirected: true });
    const route = provider.find();
    if (route !== null) entry.format = route.format;
    if (route?.get === undefined && req.method === "POST") return read(req, res, entry, provider, route);
    entry.key = provider.authenticate(req, "");
    if (route === null) throw noSuchRoute(req.method, path);
    sendJson(res, entry, 200, route.get());
  } catch (error) {
    refuse(res, entry, error);
  }
}

const noSuchRoute = (method, path) => new Refusal(404, `Invalid URL (${method} ${path})`);

function inspect(req, res, path, query) {
  if (path === "/journal" && req.method === "DELETE") journal.clear();
  const body = path === "/stats" ? journal.stats() : journal.list({
    contains: query.get("contains") ?? undefined,
    model: query.get("model") ?? undefined,
    limit: query.has("limit") ? Math.max(1, Number(query.get("limit")) || 1) : undefined,
  });
  res.writeHead(200, { "content-type": "application/json" });
  res.end(JSON.stringify(body));
}

/** What is wrong is refused before anything changes. */
async function steer(req, res) {
  const answer = (status, body) => {
    res.writeHead(status, { "content-type": "application/json" });
    res.end(JSON.stringify(body));
  };
  try {
    if (req.method === "POST") {
      const parts = [];
      for await (const part of req) parts.push(part);
      control.set(parse(Buffer.concat(parts).toString()));
    } else if (req.method !== "GET") {
      throw new Refusal(405, "GET or POST");
    }
    answer(200, control.list());
  } catch (error) {
    answer(error instanceof Refusal ? error.status : 500, { error: { message: error.message } });
  }
}

function read(req, res, entry, provider, route) {
  const parts = [];
  let bytes = 0;
  req.on("data", (part) => {
    bytes += part.length;
    if (bytes <= MOST_BODY_BYTES) parts.push(part);
  });
  req.on("end", () => {
    try {
      if (bytes > MOST_BODY_BYTES) throw new Refusal(413, "Request body is too large.");
      const whole = parts.length === 1 ? parts[0] : Buffer.concat(parts);
      entry.key = provider.authenticate(req, whole);
      if (route === null) throw noSuchRoute(req.method, entry.path);
      const text = whole.toString();
      entry.keepBody(text, bytes);
      const body = parse(text);
      if (route.of) route = { ...route, ...route.of(body, req.headers) };
      const model = route.model ?? body.model;
      if (typeof model !== "string" || model === "") throw new Refusal(400, "you must provide a model parameter");
      entry.model = model;
      entry.stream = route.make === undefined && (route.stream ?? body.stream === true);
      const set = control.of(model, Date.now());
      entry.retryAfter = set?.retryAfter ?? null;
      const plan = planOf(set === null ? model : `${model}-${set.fault}`, defaults);
      answer(res, entry, route, { model, body, headers: req.headers }, plan);
    } catch (error) {
      refuse(res, entry, error);
    }
  });
}

function parse(text) {
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    throw new Refusal(400, "We could not parse the JSON body of your request.");
  }
  if (body === null || typeof body !== "object") throw new Refusal(400, "The body must be an object.");
  return body;
}

function answer(res, entry, route, asked, plan) {
  const { format, stream } = entry;
  const question = route.make === undefined ? format.read(asked.body, asked) : null;
  if (question !== null) plan = told(question, plan);
  if (plan.status !== null) {
    return later(res, plan.whole ?? 0, () => refuse(res, entry, format.told(plan.status, entry.key)));
  }
  if (sendFault(res, entry, plan, stream)) return;
  if (question === null) {
    const body = route.make(asked.body, asked);
    if (!plan.usage) delete body.usage;
    return later(res, plan.whole ?? plan.ttft, () => sendJson(res, entry, 200, body, route.headers?.(asked.body)));
  }
  const made = answerTo(question, plan);
  entry.usage = made.usage;
  if (stream) return sendStream(res, entry, plan, format.script(made, asked, plan));
  later(res, plan.wholeAfter, () => sendWhole(res, entry, plan, format.whole(made, asked, plan)));
}

function refuse(res, entry, error) {
  if (!(error instanceof Refusal)) {
    console.error(error);
    error = errorFor(500);
  }
  if (res.headersSent) return void res.destroy();
  const headers = [...(entry.format.errorHeaders?.(error) ?? []), ...retryAfter(entry, error)];
  sendJson(res, entry, error.status, entry.format.refused(error, entry), headers);
}

/** What the control says; a 429 asks for a second where it says nothing. */
function retryAfter({ retryAfter: said }, { status }) {
  if (said !== null) return ["retry-after", said];
  return status === 429 ? ["retry-after", "1"] : [];
}

const server = http.createServer(
  { noDelay: true, keepAlive: true, keepAliveTimeout: KEEP_ALIVE_MS, requestTimeout: 0 },
  handle,
);
server.on("error", (error) => {
  console.error(`simulator: ${error.message}`);
  process.exit(1);
});
server.on("clientError", (_, socket) => socket.destroy());

function close() {
  server.close();
  server.closeAllConnections();
  process.exit(0);
}
process.on("SIGINT", close);
process.on("SIGTERM", close);
if (exitWithParent) process.stdin.on("close", close).on("end", close).resume();

server.listen(port, "127.0.0.1", () => {
  console.log(JSON.stringify({ port: server.address().port, pid: process.pid }));
});
