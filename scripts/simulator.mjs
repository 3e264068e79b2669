#!/usr/bin/env node
// A simulated model provider that speaks OpenAI's wire format, for tests, demonstrations and load.

import http from "node:http";
import { parseArgs } from "node:util";
import { answerTo, CREATED } from "./simulator/answer.mjs";
import { embeddingsFor } from "./simulator/embeddings.mjs";
import { errorFor, Refusal, wrongKey } from "./simulator/errors.mjs";
import { Journal } from "./simulator/journal.mjs";
import { planOf } from "./simulator/plan.mjs";
import { later, sendFault, sendJson, sendStream, sendWhole } from "./simulator/respond.mjs";

const HELP = `Usage: node scripts/simulator.mjs [options]

A simulated model provider on 127.0.0.1. It prints {"port":N,"pid":N} when it is ready.

Options
  --port N            port; 0 lets the system pick one (default 0)
  --ttft-ms N         time to the first token (default 20)
  --itl-ms N          time between tokens (default 5)
  --tokens N          tokens of an answer (default 32)
  --exit-with-parent  exit when the standard input is closed
  --help              this text

Endpoints: POST /v1/chat/completions, POST /v1/embeddings, GET /v1/models, GET /v1/models/{id}.
Every one needs "Authorization: Bearer …"; the key "bad-key" is refused. Answers depend on the request
alone. Streams send tokens that are overdue in one write.

The model name steers the answer. Parts are split by "-", parts that mean nothing are ignored:
  tN first token after N ms      iN N ms between tokens        nN tokens
  lN whole answer after N ms (default: as long as its stream would take; l0 is at once)
  eNNN answer that status        xN reset the connection after N tokens
  pN call N tools instead of one
  hang     never answers                 stall    3 tokens, then nothing
  half     3 tokens, then a clean end without finish_reason and [DONE]
  html     200 with a page               badjson  200 with broken JSON
  reset    resets the connection         redirect 302 to /redirected
  early    the stream's headers go out before its first token
  nousage  leaves usage out              bomb     50 MB of JSON in 50 KB of gzip
For a whole answer, x, stall and half send half of the body.

Tools are called when the last message is the user's; response_format is answered with JSON that fits the
schema. Prompt tokens are 3, and for each message 3 and a quarter of its characters rounded up, and a
quarter of the tools' JSON. Completion tokens are the tokens sent.

GET /journal     what was asked and sent; ?contains=TEXT (in the body), ?model=NAME, ?limit=N
DELETE /journal  empties it
GET /stats       {"requests","open","streams_done","streams_cut"}
In the journal chunks_sent has one time per token. ended is null while a request runs, "done" when the
answer was sent, "cut" when the simulator broke it off, "client_gone" when the client did, and "hang" while
it is left waiting.`;

const MOST_BODY_BYTES = 32 * 1024 * 1024;
/** Longer than any client keeps a connection, so that the client is the one to close it. */
const KEEP_ALIVE_MS = 120_000;
const MODELS = ["sim-small", "sim-large", "sim-embed"];

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
    defaults: {
      ttft: number("ttft-ms", values["ttft-ms"], 3_600_000),
      itl: number("itl-ms", values["itl-ms"], 3_600_000),
      tokens: number("tokens", values.tokens, 100_000),
    },
  };
}

const { port, exitWithParent, defaults } = options();
const journal = new Journal();

function handle(req, res) {
  const cut = req.url.indexOf("?");
  const path = cut < 0 ? req.url : req.url.slice(0, cut);
  if (path === "/journal" || path === "/stats") return inspect(req, res, path);
  const entry = journal.begin(req, path);
  res.once("close", () => entry.closed(res.writableFinished));
  res.on("error", () => {});
  const route = `${req.method} ${path}`;
  const answer = route === "POST /v1/chat/completions" ? chat : route === "POST /v1/embeddings" ? embeddings : null;
  try {
    if (path === "/redirected") return sendJson(res, entry, 200, { redirected: true });
    entry.key = authenticate(req);
    if (answer !== null) return read(req, res, entry, answer);
    if (route === "GET /v1/models") return sendJson(res, entry, 200, { object: "list", data: MODELS.map(card) });
    if (route.startsWith("GET /v1/models/")) return sendJson(res, entry, 200, cardOf(path));
    throw new Refusal(404, `Invalid URL (${route})`);
  } catch (error) {
    refuse(res, entry, error);
  }
}

function inspect(req, res, path) {
  const query = new URL(req.url, "http://localhost").searchParams;
  if (path === "/journal" && req.method === "DELETE") journal.clear();
  const body = path === "/stats" ? journal.stats() : journal.list({
    contains: query.get("contains") ?? undefined,
    model: query.get("model") ?? undefined,
    limit: query.has("limit") ? Math.max(1, Number(query.get("limit")) || 1) : undefined,
  });
  res.writeHead(200, { "content-type": "application/json" });
  res.end(JSON.stringify(body));
}

function authenticate(req) {
  const key = /^Bearer (\S+)$/.exec(req.headers.authorization ?? "")?.[1];
  if (key === undefined) {
    throw new Refusal(401, "You didn't provide an API key. You need to provide it in an Authorization header using "
      + "Bearer auth (i.e. Authorization: Bearer YOUR_KEY).");
  }
  if (key === "bad-key") throw wrongKey(key);
  return key;
}

function read(req, res, entry, answer) {
  const parts = [];
  let bytes = 0;
  req.on("data", (part) => {
    bytes += part.length;
    if (bytes <= MOST_BODY_BYTES) parts.push(part);
  });
  req.on("end", () => {
    try {
      if (bytes > MOST_BODY_BYTES) throw new Refusal(413, "Request body is too large.");
      const text = (parts.length === 1 ? parts[0] : Buffer.concat(parts)).toString();
      entry.keepBody(text, bytes);
      const body = parse(text);
      entry.model = body.model;
      entry.stream = body.stream === true;
      answer(res, entry, body, planOf(body.model, defaults));
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
  if (typeof body.model !== "string" || body.model === "") throw new Refusal(400, "you must provide a model parameter");
  return body;
}

function chat(res, entry, body, plan) {
  check(body);
  const { stream } = entry;
  if (plan.status !== null) return refuseAsTold(res, entry, plan);
  if (sendFault(res, entry, plan, stream)) return;
  const answer = answerTo(body, plan);
  if (stream) sendStream(res, entry, plan, answer, body.model, body.stream_options?.include_usage === true);
  else later(res, plan.wholeAfter, () => sendWhole(res, entry, plan, answer, body.model));
}

function embeddings(res, entry, body, plan) {
  if (plan.status !== null) return refuseAsTold(res, entry, plan);
  if (sendFault(res, entry, plan, false)) return;
  const list = embeddingsFor(body);
  if (!plan.usage) delete list.usage;
  later(res, plan.whole ?? plan.ttft, () => sendJson(res, entry, 200, list));
}

/** The checks that a caller is likely to run into; other fields may hold anything. */
function check(body) {
  const wrong = (param, message, code = "invalid_value") => new Refusal(400, message, { param, code });
  const missing = (param) => wrong(param, `Missing required parameter: '${param}'.`, "missing_required_parameter");
  const notList = (param) => wrong(param, `Invalid type for '${param}': expected an array.`, "invalid_type");
  const counts = (name, most) => {
    const value = body[name];
    if (value === undefined || value === null) return;
    if (!Number.isInteger(value) || value < 1 || value > most) {
      throw wrong(name, `Invalid '${name}': expected an integer from 1 to ${most}.`);
    }
  };
  if (body.messages === undefined) throw missing("messages");
  if (!Array.isArray(body.messages)) throw notList("messages");
  if (body.messages.length === 0) throw wrong("messages", "Invalid 'messages': empty array.", "empty_array");
  if (body.messages.some((message) => typeof message?.role !== "string")) throw missing("messages[].role");
  counts("n", 128);
  counts("max_tokens", Number.MAX_SAFE_INTEGER);
  counts("max_completion_tokens", Number.MAX_SAFE_INTEGER);
  const { temperature, response_format: format, stream, tools } = body;
  if (typeof temperature === "number" && (temperature < 0 || temperature > 2)) {
    throw wrong("temperature", "Invalid 'temperature': expected a decimal from 0 to 2.", "decimal_out_of_range");
  }
  if (tools !== undefined && !Array.isArray(tools)) throw notList("tools");
  if (format?.type === "json_schema" && typeof format.json_schema?.name !== "string") {
    throw missing("response_format.json_schema.name");
  }
  if (body.stream_options !== undefined && body.stream_options !== null && stream !== true) {
    throw wrong("stream_options", "The 'stream_options' parameter is only allowed when 'stream' is enabled.", null);
  }
}

function refuseAsTold(res, entry, plan) {
  later(res, plan.whole ?? 0, () => refuse(res, entry, errorFor(plan.status, entry.key)));
}

function refuse(res, entry, error) {
  if (!(error instanceof Refusal)) {
    console.error(error);
    error = errorFor(500);
  }
  if (res.headersSent) return void res.destroy();
  sendJson(res, entry, error.status, error.body, error.status === 429 ? ["retry-after", "1"] : []);
}

const card = (id) => ({ id, object: "model", created: CREATED, owned_by: "simulator" });

function cardOf(path) {
  let id = path.slice("/v1/models/".length);
  try {
    id = decodeURIComponent(id);
  } catch {
    // Not valid percent-encoding: then it names no model either.
  }
  const name = id.slice(id.lastIndexOf("/") + 1);
  if (!MODELS.includes(name)) {
    throw new Refusal(404, `The model '${id}' does not exist`, { param: "model", code: "model_not_found" });
  }
  return card(id);
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
