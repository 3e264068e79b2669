// Sends answers: at once or token by token, and all the ways in which a provider can go wrong.

import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { CREATED, usageOf } from "./answer.mjs";

/** Where the faults `stall` and `half` leave a stream. */
const FAULT_AFTER_TOKENS = 3;
/** A cut waits this long at least, so that the tokens before it have left. */
const CUT_AFTER_MS = 5;
/** Tokens that are overdue go out in one write, but not more than these. */
const MOST_TOKENS_PER_WRITE = 64;
/** Node's timers may fire this much before their time. */
const TIMER_EARLY_MS = 1;
const BOMB_BYTES = 50 * 1024 * 1024;
const DONE = "data: [DONE]\n\n";

/** Headers that OpenAI sends with every answer: a gateway has to keep them to itself or replace them. */
export function headersFor(entry, type) {
  return [
    "content-type", type,
    "x-request-id", entry.id,
    "openai-version", "2020-10-01",
    "openai-processing-ms", "1",
    "x-ratelimit-limit-requests", "10000",
    "x-ratelimit-remaining-requests", "9999",
    "x-ratelimit-reset-requests", "6ms",
    "set-cookie", "__cf_bm=simulated; path=/; HttpOnly",
  ];
}

export function sendJson(res, entry, status, body, headers = []) {
  const text = JSON.stringify(body);
  entry.status = status;
  res.writeHead(status, [
    ...headersFor(entry, "application/json"), "content-length", String(Buffer.byteLength(text)), ...headers,
  ]);
  entry.end("done");
  res.end(text);
}

export function later(res, ms, run) {
  if (ms <= 0) return void run();
  const timer = setTimeout(run, ms);
  res.once("close", () => clearTimeout(timer));
}

function reset(res, entry) {
  entry.end("cut");
  res.socket?.resetAndDestroy();
}

/** Faults that need no answer. Returns false when the plan has none of them. */
export function sendFault(res, entry, plan, stream) {
  switch (plan.fault) {
    case "hang":
      entry.hang();
      return true;
    case "reset":
      reset(res, entry);
      return true;
    case "html":
      sendText(res, entry, 200, "text/html; charset=utf-8", "<!doctype html><title>Welcome</title>\n");
      return true;
    case "redirect":
      sendText(res, entry, 302, "text/plain", "moved\n", ["location", "/redirected"]);
      return true;
    case "badjson":
      if (stream) return false;
      sendText(res, entry, 200, "application/json", '{"id":"chatcmpl-broken","object":"chat.completion","choices":[{');
      return true;
    case "bomb":
      void sendBomb(res, entry, stream);
      return true;
    default:
      return false;
  }
}

function sendText(res, entry, status, type, text, headers = []) {
  entry.status = status;
  res.writeHead(status, [...headersFor(entry, type), "content-length", String(Buffer.byteLength(text)), ...headers]);
  entry.end("done");
  res.end(text);
}

const bombs = new Map();

/** A valid answer of 50 MB that is 50 KB on the wire. It is made once, when first asked for. */
async function sendBomb(res, entry, stream) {
  if (!bombs.has(stream)) {
    const filling = "a".repeat(BOMB_BYTES);
    const choice = stream ? { index: 0, delta: { content: filling }, finish_reason: "stop" }
      : { index: 0, message: { role: "assistant", content: filling }, finish_reason: "stop" };
    const object = stream ? "chat.completion.chunk" : "chat.completion";
    const text = JSON.stringify({ id: "chatcmpl-bomb", object, created: CREATED, model: "bomb", choices: [choice] });
    bombs.set(stream, promisify(gzip)(stream ? `data: ${text}\n\n${DONE}` : text));
  }
  const packed = await bombs.get(stream);
  entry.status = 200;
  res.writeHead(200, [
    ...headersFor(entry, stream ? "text/event-stream" : "application/json"),
    "content-encoding", "gzip", "content-length", String(packed.length),
  ]);
  entry.end("done");
  res.end(packed);
}

/** The whole answer in one body. */
export function sendWhole(res, entry, plan, answer, model) {
  const body = {
    id: answer.id, object: "chat.completion", created: CREATED, model,
    choices: answer.choices.map((choice, index) => ({
      index, message: choice.message(), logprobs: null, finish_reason: choice.finish,
    })),
  };
  if (plan.usage) body.usage = usageOf(answer);
  body.service_tier = "default";
  body.system_fingerprint = "fp_simulated";
  const breaks = plan.cut !== null || plan.fault === "stall" || plan.fault === "half";
  if (!breaks) return sendJson(res, entry, 200, body);

  const bytes = Buffer.from(JSON.stringify(body));
  const half = bytes.subarray(0, bytes.length >> 1);
  entry.status = 200;
  // `half` ends properly as far as HTTP can tell; the other two promise more than they send.
  const length = plan.fault === "half" ? half.length : bytes.length;
  res.writeHead(200, [...headersFor(entry, "application/json"), "content-length", String(length)]);
  if (plan.fault === "half") {
    entry.end("cut");
    res.end(half);
  } else {
    res.write(half);
    if (plan.fault === "stall") entry.hang();
    else later(res, CUT_AFTER_MS, () => reset(res, entry));
  }
}

/** The answer as server-sent events, each token at its time. */
export function sendStream(res, entry, plan, answer, model, askedForUsage) {
  const head = `data: {"id":"${answer.id}","object":"chat.completion.chunk","created":${CREATED},`
    + `"model":${JSON.stringify(model)},"service_tier":"default","system_fingerprint":"fp_simulated",`;
  const tail = askedForUsage && plan.usage ? ',"usage":null}\n\n' : "}\n\n";
  const event = (index, delta, finish) =>
    `${head}"choices":[{"index":${index},"delta":${delta},"logprobs":null,"finish_reason":${finish}}]${tail}`;
  const { choices } = answer;
  const steps = Math.max(...choices.map((choice) => choice.steps));
  const endsEarly = plan.fault === "half" || plan.fault === "stall";
  const stopAt = Math.min(steps, endsEarly ? FAULT_AFTER_TOKENS : (plan.cut ?? Infinity));
  const isCut = plan.cut !== null && plan.cut <= steps;

  const opening = () => choices.map((choice, index) => event(index, choice.opening, "null")
    + (choice.steps === 0 ? event(index, "{}", `"${choice.finish}"`) : "")).join("");
  const token = (step) => {
    let text = "";
    for (const [index, choice] of choices.entries()) {
      if (step < choice.steps) text += event(index, choice.delta(step), "null");
      const last = step + 1 === choice.steps && !endsEarly && !isCut;
      if (last) text += event(index, "{}", `"${choice.finish}"`);
    }
    if (step === 0 && plan.fault === "badjson") text += 'data: {"id":"chatcmpl-broken","choices":[{\n\n';
    return text;
  };
  const closing = () => {
    if (!askedForUsage || !plan.usage) return DONE;
    return `${head}"choices":[],"usage":${JSON.stringify(usageOf(answer))}}\n\n${DONE}`;
  };

  entry.status = 200;
  const start = performance.now() + plan.ttft;
  let sent = -1; // the opening counts as no token and goes out with the first one
  const finish = (text) => {
    if (plan.fault === "stall") {
      if (text !== "") res.write(text);
      entry.hang();
    } else if (isCut) {
      if (text !== "") res.write(text);
      else res.flushHeaders();
      later(res, Math.max(CUT_AFTER_MS, plan.itl), () => reset(res, entry));
    } else if (plan.fault === "half") {
      entry.end("cut");
      res.end(text);
    } else {
      entry.end("done");
      res.end(text + closing());
    }
  };
  const open = () =>
    res.writeHead(200, [...headersFor(entry, "text/event-stream; charset=utf-8"), "cache-control", "no-cache"]);
  if (plan.early) {
    open();
    res.flushHeaders();
  }
  const pump = () => {
    const now = performance.now();
    let text = "";
    if (sent < 0) {
      if (!res.headersSent) open();
      sent = 0;
      if (stopAt > 0 || !isCut) text = opening();
    }
    const first = sent;
    while (sent < stopAt && sent - first < MOST_TOKENS_PER_WRITE && start + sent * plan.itl <= now + TIMER_EARLY_MS) {
      text += token(sent);
      sent += 1;
    }
    entry.chunksSent(sent - first, Date.now());
    if (sent >= stopAt) return finish(text);
    // A client that does not read is not written to.
    if (text !== "" && !res.write(text)) return void res.once("drain", pump);
    timer = setTimeout(pump, Math.max(0, start + sent * plan.itl - performance.now()));
  };
  let timer;
  res.once("close", () => clearTimeout(timer));
  if (plan.ttft === 0) pump();
  else timer = setTimeout(pump, plan.ttft);
}
