// Sends answers: at once or token by token, and all the ways in which a provider can go wrong. What the bytes
// say is the format's business.

import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { bombAnswer } from "./answer.mjs";

/** Where the faults `stall`, `half` and `short` leave a stream. */
const FAULT_AFTER_TOKENS = 3;
/** Faults that end an answer before its end. */
const BREAKING = new Set(["stall", "half", "short"]);
/** A cut waits this long at least, so that the tokens before it have left. */
const CUT_AFTER_MS = 5;
/** Tokens that are overdue go out in one write, but not more than these. */
const MOST_TOKENS_PER_WRITE = 64;
/** Node's timers may fire this much before their time. */
const TIMER_EARLY_MS = 1;
const BOMB_BYTES = 50 * 1024 * 1024;

/** Headers that providers send with every answer: a gateway has to keep them to itself or replace them. */
function headersFor(entry, type) {
  return ["content-type", type, ...entry.format.headers(entry), "set-cookie", "__cf_bm=simulated; path=/; HttpOnly"];
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

/** Closes the connection in the middle of the answer, with a FIN. */
function hangUp(res, entry) {
  entry.end("cut");
  res.socket?.end();
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
      sendText(res, entry, 200, "application/json", entry.format.broken);
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

/** A valid answer of 50 MB that is 50 KB on the wire. It is made once for each format, when first asked for. */
async function sendBomb(res, entry, stream) {
  const { format } = entry;
  const kind = `${format.name} ${stream}`;
  if (!bombs.has(kind)) bombs.set(kind, promisify(gzip)(bombOf(format, stream)));
  const packed = await bombs.get(kind);
  entry.status = 200;
  res.writeHead(200, [
    ...headersFor(entry, stream ? format.streamType : "application/json"),
    "content-encoding", "gzip", "content-length", String(packed.length),
  ]);
  entry.end("done");
  res.end(packed);
}

function bombOf(format, stream) {
  const answer = bombAnswer("a".repeat(BOMB_BYTES));
  const asked = { model: "bomb", body: {} };
  if (!stream) return JSON.stringify(format.whole(answer, asked, { usage: false }));
  const script = format.script(answer, asked, { usage: false });
  const text = script.opening + script.token(0, true) + script.closing();
  return Buffer.from(text, format.streamEncoding);
}

/** The whole answer in one body. */
export function sendWhole(res, entry, plan, body) {
  const breaks = plan.cut !== null || BREAKING.has(plan.fault);
  if (!breaks) return sendJson(res, entry, 200, body);

  const bytes = Buffer.from(JSON.stringify(body));
  const half = bytes.subarray(0, bytes.length >> 1);
  entry.status = 200;
  // `half` ends properly as far as HTTP can tell; the others promise more than they send.
  const length = plan.fault === "half" ? half.length : bytes.length;
  res.writeHead(200, [...headersFor(entry, "application/json"), "content-length", String(length)]);
  if (plan.fault === "half") {
    entry.end("cut");
    res.end(half);
  } else {
    res.write(half);
    if (plan.fault === "stall") entry.hang();
    else if (plan.fault === "short") later(res, CUT_AFTER_MS, () => hangUp(res, entry));
    else later(res, CUT_AFTER_MS, () => reset(res, entry));
  }
}

/**
 * The answer as a stream, each token at its time. A format's script has `opening`, the text before the first
 * token; `count` tokens, of which `token(k, whole)` is one, asked for in order, where `whole` says that the
 * stream will be; `closing()`, all that follows; and `failure(error)`, an error inside the stream.
 */
export function sendStream(res, entry, plan, script) {
  const { format } = entry;
  const endsEarly = BREAKING.has(plan.fault);
  const isCut = plan.cut !== null && plan.cut <= script.count;
  const fails = plan.failAfter !== null && plan.failAfter <= script.count;
  const whole = !endsEarly && !isCut && !fails;
  const stopAt = Math.min(script.count, endsEarly ? FAULT_AFTER_TOKENS : Infinity, plan.cut ?? Infinity, plan.failAfter ?? Infinity);
  const write = (text) => res.write(text, format.streamEncoding);
  const end = (text, how) => {
    entry.end(how);
    res.end(text, format.streamEncoding);
  };

  entry.status = 200;
  const start = performance.now() + plan.ttft;
  let sent = -1; // the opening counts as no token and goes out with the first one
  const finish = (text) => {
    if (plan.fault === "stall") {
      if (text !== "") write(text);
      entry.hang();
    } else if (plan.fault === "short") {
      if (text !== "") write(text);
      later(res, CUT_AFTER_MS, () => hangUp(res, entry));
    } else if (isCut) {
      if (text !== "") write(text);
      else res.flushHeaders();
      later(res, Math.max(CUT_AFTER_MS, plan.itl), () => reset(res, entry));
    } else if (fails) {
      end(text + script.failure(), "cut");
    } else if (plan.fault === "half") {
      end(text, "cut");
    } else {
      end(text + script.closing(), "done");
    }
  };
  const open = () => res.writeHead(200, [...headersFor(entry, format.streamType), "cache-control", "no-cache"]);
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
      if (stopAt > 0 || !isCut) text = script.opening;
    }
    const first = sent;
    while (sent < stopAt && sent - first < MOST_TOKENS_PER_WRITE && start + sent * plan.itl <= now + TIMER_EARLY_MS) {
      text += script.token(sent, whole);
      if (sent === 0 && plan.fault === "badjson") text += script.broken;
      sent += 1;
    }
    entry.chunksSent(sent - first, Date.now());
    if (sent >= stopAt) return finish(text);
    // A client that does not read is not written to.
    if (text !== "" && !write(text)) return void res.once("drain", pump);
    timer = setTimeout(pump, Math.max(0, start + sent * plan.itl - performance.now()));
  };
  let timer;
  res.once("close", () => clearTimeout(timer));
  if (plan.ttft === 0) pump();
  else timer = setTimeout(pump, plan.ttft);
}
