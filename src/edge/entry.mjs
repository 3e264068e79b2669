// The module that workerd loads: events in, one crossing into wasm, plain values back.
//
// Building Headers, Request and Response objects from Rust costs more than the gateway's own work, so
// this side builds them, from strings and bytes (docs/architecture.md, "One crossing"). It decides
// nothing: what to send where, and what to answer, comes from Rust.
import { DurableObject } from "cloudflare:workers";
import { Lane } from "./lane.mjs";
import * as glue from "tollgate-glue";

/** How Rust waits for a promise: under a number that no other has, also none of an instance before. */
let awaited = 0;
globalThis.tollgateAwait = (promise) => {
  const number = (awaited = (awaited + 1) >>> 0);
  promise.then(
    (value) => glue.settled(number, value, Date.now()),
    () => glue.settled(number, undefined, Date.now()),
  );
  return number;
};

/** The headers that Rust reads, and how the lines with their values begin. */
const PLACES = new Map(glue.header_names().split(",").map((name, at) => [name, `\n${at}:`]));

/** Where this isolate runs. Unpacking it for each request costs more than all other lines of its head. */
let colo;

/** The first lines of a request, as Rust reads them. Looking at those that are there is cheaper than asking for each. */
function headOf(request) {
  const { url } = request;
  colo ??= request.cf?.colo;
  let head = `${request.method}\n${url.slice(url.indexOf("/", 8))}\n${colo ?? ""}`;
  request.headers.forEach((value, name) => {
    const place = PLACES.get(name);
    if (place !== undefined) head += place + value;
  });
  return head;
}

/** The lanes to tenants' objects that are in use. An object's id is a hash of its name: kept with its lane. */
const lanes = new Map();

/** Most lanes that are remembered. */
const MOST_LANES = 1000;

function laneTo(env, tenant) {
  let known = lanes.get(tenant);
  if (!known) {
    if (lanes.size >= MOST_LANES) for (const [name, { lane }] of lanes) if (lane.idle) lanes.delete(name);
    const unclaimed = (reply) => {
      glue.instance();
      glue.unclaimed(tenant, reply);
    };
    known = { id: env.TENANTS.idFromName(tenant), lane: new Lane(unclaimed) };
    lanes.set(tenant, known);
  }
  return known;
}

/** "name\nvalue\nname\nvalue" as an object. */
function record(flat) {
  const parts = flat.split("\n");
  const out = {};
  for (let i = 0; i + 1 < parts.length; i += 2) out[parts[i]] = parts[i + 1];
  return out;
}

/** Sets headers one by one: a list or an object of them costs several times more. */
function setAll(headers, flat) {
  const parts = flat.split("\n");
  for (let i = 0; i + 1 < parts.length; i += 2) headers.set(parts[i], parts[i + 1]);
}

/** Answers without a body, for the headers that many have alike. Copying one costs less than setting each header. */
const templates = new Map();

/** Most of them that are remembered. */
const MOST_TEMPLATES = 64;

function template(flat) {
  let answer = templates.get(flat);
  if (!answer) {
    if (templates.size >= MOST_TEMPLATES) templates.clear();
    setAll((answer = new Response(null)).headers, flat);
    templates.set(flat, answer);
  }
  return answer;
}

/** Bytes beyond the cap that are still taken in from a client, and dropped: an answer while it sends is lost with the connection. */
const MOST_DROPPED = 32 * 1024 * 1024;

/**
 * Reads the body of a request or response up to `cap` bytes; null if it is longer, after taking in up to
 * `drop` bytes more. Content-length is believed only where the body cannot be compressed. `moved` is called
 * for each piece of a body whose length is not declared.
 */
async function readAll(message, declared, cap, { drop = 0, moved } = {}) {
  if (declared > 0 && declared <= cap) return new Uint8Array(await message.arrayBuffer());
  const { body } = message;
  if (!body) return new Uint8Array(0);
  if (declared > cap + drop) {
    await body.cancel().catch(() => {});
    return null;
  }
  const chunks = [];
  let size = 0;
  for await (const chunk of body) {
    moved?.();
    size += chunk.byteLength;
    if (size > cap + drop) return null;
    if (size <= cap) chunks.push(chunk);
    else chunks.length = 0;
  }
  if (size > cap) return null;
  if (chunks.length === 1) return chunks[0];
  const out = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    out.set(chunk, at);
    at += chunk.byteLength;
  }
  return out;
}

/** A comment of the event-stream format: clients skip it. */
const HEARTBEAT = new TextEncoder().encode(": \n\n");

/** What takes longer than this is worth listening for the client's departure. */
const WATCH_AFTER_MS = 200;

/** Most bytes of one stream: far more than any model writes, far less than an unpacked bomb. */
const MOST_STREAMED = 64 * 1024 * 1024;

/** What an address begins with that stands for the binding of Workers AI; the model follows. */
const BOUND = glue.bound_address();

const FLAGS = { timeout: 1, gone: 2, broken: 3, tooLarge: 4, cut: 5 };

/** One request: what Rust may do for it in the outside world. */
class Exchange {
  constructor(request, env, ctx) {
    this.request = request;
    this.env = env;
    this.ctx = ctx;
    this.abort = null; // of the upstream request under way
    this.gone = false;
  }

  /** Text variables and secrets. Asked for once in the life of an instance. */
  variables() {
    return JSON.stringify(Object.fromEntries(Object.entries(this.env).filter(([, value]) => typeof value === "string")));
  }

  hasAi() {
    return typeof this.env.AI?.run === "function";
  }

  random(n) {
    return crypto.getRandomValues(new Uint8Array(n));
  }

  log(line) {
    console.log(line);
  }

  /** More is done for this event. Returns what says that it is over. */
  later() {
    let over;
    this.ctx.waitUntil(new Promise((resolve) => (over = resolve)));
    return over;
  }

  sleep(ms) {
    return new Promise((resolve) => setTimeout(resolve, ms));
  }

  /** The request's body: bytes, or null if it is longer than `cap`. */
  async body(cap) {
    const declared = Number(this.request.headers.get("content-length")) || 0;
    try {
      return await readAll(this.request, declared, cap, { drop: MOST_DROPPED });
    } catch {
      return undefined; // the client broke off
    }
  }

  /** One turn of a tenant's object (or of the directory). */
  async turn(tenant, message) {
    try {
      if (tenant === "") return await this.env.DIRECTORY.getByName("directory").turn(message);
      const { id, lane } = laneTo(this.env, tenant);
      return await lane.ask(message, (messages) => this.env.TENANTS.get(id).turn(messages));
    } catch (e) {
      console.error(JSON.stringify({ level: "error", event: "object_failed", message: String(e?.message ?? e), retryable: e?.retryable === true, overloaded: e?.overloaded === true }));
      return e?.overloaded === true ? 1 : e?.retryable === true ? 2 : 0;
    }
  }

  /** From here on, when the client goes away, the upstream request ends, whichever is under way. */
  watch() {
    // A cron event has no client.
    if (this.watching || this.request === null) return;
    this.watching = true;
    const { signal } = this.request;
    const left = () => {
      this.gone = true;
      this.abort?.abort();
    };
    // It may have left already: then the event has been and gone.
    if (signal.aborted) left();
    else signal.addEventListener("abort", left);
  }

  /**
   * Asks upstream, without a body by GET. Resolves to this exchange with `status`, `answerHead` and, unless it is a
   * stream, `answer`; status 0 and `flag` say that nothing usable came. Of a whole answer, a body whose length is
   * declared may take `idleMs` after the headers, and any other may be silent for that long.
   */
  async send(url, headers, body, firstByteMs, idleMs, totalMs, cap) {
    this.status = 0;
    this.flag = 0;
    this.upstream = null;
    this.ended = false;
    this.answer = null;
    this.answerHead = "";
    if (this.gone) return this.fail(FLAGS.gone, "client gone");
    const abort = (this.abort = new AbortController());
    const started = Date.now();
    let late = false;
    let headersIn = false;
    let moved = started;
    // One timer for everything that takes time: first it looks after the client (a listener for each of
    // many quick answers costs a tenth of the whole request), then it waits for the limits.
    let timer;
    const look = () => {
      const passed = Date.now() - started;
      const limit = Math.min(totalMs, headersIn ? moved - started + idleMs : firstByteMs);
      if (passed >= limit) {
        late = true;
        abort.abort();
        return;
      }
      this.watch();
      timer = setTimeout(look, limit - passed);
    };
    timer = setTimeout(look, Math.min(WATCH_AFTER_MS, firstByteMs, totalMs));
    try {
      const method = body === undefined ? "GET" : "POST";
      const response = url.startsWith(BOUND)
        ? await this.infer(url, body, abort.signal)
        : await fetch(url, { method, headers: record(headers), body, redirect: "manual", signal: abort.signal });
      headersIn = true;
      moved = Date.now();
      const h = response.headers;
      const type = h.get("content-type") ?? "";
      if (response.ok && (type.startsWith("text/event-stream") || type.startsWith("application/vnd.amazon.eventstream"))) {
        this.upstream = response.body;
      } else {
        const length = h.get("content-encoding") === null ? Number(h.get("content-length")) || 0 : 0;
        // The timer that waits for headers may be far off by now.
        if (this.watching) {
          clearTimeout(timer);
          timer = setTimeout(look, Math.min(idleMs, started + totalMs - moved));
        }
        this.answer = await readAll(response, length, cap, { moved: () => (moved = Date.now()) });
        if (this.answer === null) {
          abort.abort();
          return this.fail(FLAGS.tooLarge, "answer too large");
        }
      }
      this.status = response.status;
      // Only who refuses says when to come back.
      const wait = response.ok ? "\n" : `${h.get("retry-after") ?? ""}\n${h.get("retry-after-ms") ?? ""}`;
      this.answerHead = `${type}\n${wait}\n${h.get("x-amzn-bedrock-input-token-count") ?? ""}\n${h.get("openai-processing-ms") ?? ""}\n${h.get("openai-version") ?? ""}`;
      return this;
    } catch (e) {
      this.answer = null;
      return this.fail(this.gone ? FLAGS.gone : late ? FLAGS.timeout : headersIn ? FLAGS.cut : FLAGS.broken, String(e?.message ?? e));
    } finally {
      clearTimeout(timer);
    }
  }

  /** Asks Workers AI by its binding, which takes values and gives a response. */
  infer(url, body, signal) {
    const model = decodeURIComponent(url.slice(BOUND.length));
    return this.env.AI.run(model, JSON.parse(new TextDecoder().decode(body)), { returnRawResponse: true, signal });
  }

  fail(flag, why) {
    this.status = 0;
    this.flag = flag;
    this.why = why;
    return this;
  }

  /**
   * The response to the client: given bytes, the upstream's own, the stream, or none. Of the headers, those
   * before the NUL are alike in many answers.
   */
  respond(status, headers, body, own) {
    let content = body;
    if (own === 1) content = this.answer;
    if (own === 2) {
      const { readable, writable } = new IdentityTransformStream();
      this.writable = writable;
      content = readable;
    }
    const [alike, rest] = headers.split("\0");
    const response = new Response(content, status === 200 ? template(alike) : { status });
    if (status !== 200) setAll(response.headers, alike);
    setAll(response.headers, rest);
    this.answered(response);
  }

  /**
   * Reads the stream until the tap says that its answer has begun, or will never, or for `waitMs`, `most`
   * bytes or `chunks` chunks. What came waits for relay(), as the tap gave it. Resolves to 0, or to how it
   * ended: 1 at its end, 2 client gone, 3 broken off, 4 silent for `idleMs`.
   */
  async prime(tap, waitMs, idleMs, most, chunks) {
    this.watch();
    const reader = (this.reader = this.upstream.getReader());
    this.first = [];
    this.reading = null;
    const until = Date.now() + waitMs;
    let timer;
    const after = (ms) => new Promise((resolve) => (timer = setTimeout(resolve, ms, null)));
    // One timer does, unless it may be silent for less than it is held back.
    const waited = idleMs < waitMs ? null : after(waitMs);
    try {
      for (let size = 0; size < most && this.first.length < chunks; ) {
        this.reading = reader.read();
        const read = await Promise.race([this.reading, waited ?? after(Math.min(idleMs, until - Date.now()))]);
        // The read goes on; relay() awaits it.
        if (read === null) return waited || Date.now() >= until ? 0 : 4;
        if (!waited) clearTimeout(timer);
        this.reading = null;
        if (read.done) {
          this.ended = true;
          return 1;
        }
        size += read.value.byteLength;
        const changed = tap.push(read.value);
        this.first.push(changed === undefined ? read.value : changed);
        if (tap.ready()) return 0;
      }
      return 0;
    } catch {
      return this.gone ? 2 : 3;
    } finally {
      clearTimeout(timer);
    }
  }

  /** The same event with an upstream of its own, for a second request at the same time. */
  beside() {
    const other = new Exchange(this.request, this.env, this.ctx);
    other.answered = this.answered;
    return other;
  }

  /** Lets go of the request under way, or of its stream, which will not be relayed. */
  drop() {
    this.abort?.abort();
    this.reader?.cancel().catch(() => {});
  }

  /**
   * Moves the stream to the client through the tap. Resolves to how it ended: 0 whole, 1 timeout,
   * 2 client gone, 3 broken off. While upstream is silent a comment goes out every `heartbeatMs`, which
   * keeps idle connections open and lets a client that left be noticed. A client that does not read is no silence
   * of upstream's. `watched`: the tap may say that upstream has failed; nothing more of it is wanted then.
   */
  async relay(tap, idleMs, totalMs, heartbeatMs, watched) {
    const { reader } = this;
    clearInterval(this.open);
    const writer = this.writer ?? this.writable.getWriter();
    let ended = 0;
    let moved = Date.now();
    let beat = moved;
    let giving = false;
    let streamed = 0;
    const started = moved;
    // One timer looks at the clock now and then; a timer per chunk would cost more than the chunk.
    const stop = (how) => {
      if (ended) return;
      ended = how;
      this.abort?.abort();
      reader.cancel().catch(() => {});
    };
    const period = Math.max(1, Math.min(1000, Math.floor(Math.min(idleMs, totalMs, heartbeatMs * 2) / 4)));
    const clock = setInterval(() => {
      const now = Date.now();
      if (this.gone) stop(2);
      else if ((!giving && now - moved > idleMs) || now - started > totalMs) stop(1);
      else if (!giving && now - Math.max(moved, beat) >= heartbeatMs && !tap.busy()) {
        beat = now;
        writer.write(HEARTBEAT).catch(() => stop(2));
      }
    }, period);
    // A client that leaves shows as a failed or closed writer even while upstream is silent.
    writer.closed.catch(() => stop(2));
    const give = async (bytes) => {
      if (bytes.byteLength === 0) return true;
      giving = true;
      try {
        await writer.write(bytes);
        return true;
      } catch {
        stop(2);
        return false;
      } finally {
        giving = false;
        moved = Date.now();
      }
    };
    try {
      let open = true;
      for (const bytes of this.first) open = open && (await give(bytes));
      this.first = [];
      while (open && !this.ended) {
        const { done, value } = await (this.reading ?? reader.read());
        this.reading = null;
        if (done) break;
        moved = Date.now();
        streamed += value.byteLength;
        if (streamed > MOST_STREAMED) {
          stop(3);
          break;
        }
        const changed = tap.push(value);
        open = await give(changed === undefined ? value : changed);
        if (watched && tap.failed()) {
          stop(3);
          break;
        }
      }
    } catch {
      if (!ended) ended = this.gone ? 2 : 3;
    } finally {
      clearInterval(clock);
    }
    if (this.gone) ended = 2;
    this.writer = writer;
    return ended;
  }

  /** Between two streams for one client: a comment every `heartbeatMs`, and who leaves stops what is under way. */
  keepOpen(heartbeatMs) {
    const left = () => {
      this.gone = true;
      this.abort?.abort();
    };
    this.writer.closed.catch(left);
    const instance = glue.instance();
    this.open = setInterval(() => {
      if (glue.instance() === instance) return this.writer.write(HEARTBEAT).catch(left);
      // There was a fault: nobody goes on.
      clearInterval(this.open);
      this.writer.abort().catch(() => {});
    }, heartbeatMs);
  }

  /** Ends the stream to the client, after a few last bytes. */
  async close(last) {
    clearInterval(this.open);
    try {
      if (last.byteLength > 0) await this.writer.write(last);
      await this.writer.close();
    } catch {
      // the client is gone
    }
  }

  /** A stored answer: true with `kept` (JSON) and `answer` (bytes). A KV that is slow or down is a miss. */
  async cached(key, waitMs) {
    let timer;
    const late = new Promise((resolve) => (timer = setTimeout(resolve, waitMs, null)));
    try {
      const found = await Promise.race([this.env.CACHE.getWithMetadata(key, "arrayBuffer"), late]);
      if (!found?.value || !found.metadata) return false;
      this.kept = JSON.stringify(found.metadata);
      this.answer = new Uint8Array(found.value);
      return true;
    } catch {
      return false;
    } finally {
      clearTimeout(timer);
    }
  }

  async store(key, bytes, metadata, ttl) {
    try {
      await this.env.CACHE.put(key, bytes, { expirationTtl: Math.max(60, ttl), metadata: JSON.parse(metadata) });
      return true;
    } catch (e) {
      console.error(JSON.stringify({ level: "error", event: "cache_put_failed", message: String(e?.message ?? e) }));
      return false;
    }
  }

  /** Whether KV answers at all. */
  async probeCache() {
    try {
      await this.env.CACHE.get("probe");
      return true;
    } catch {
      return false;
    }
  }

  /** AES-256-GCM: the bytes sealed or opened, or null. */
  async gcm(seal, key, nonce, boundTo, bytes) {
    const use = seal ? "encrypt" : "decrypt";
    try {
      const imported = await crypto.subtle.importKey("raw", key, "AES-GCM", false, [use]);
      const how = { name: "AES-GCM", iv: nonce, additionalData: new TextEncoder().encode(boundTo) };
      return new Uint8Array(await crypto.subtle[use](how, imported, bytes));
    } catch {
      return null;
    }
  }

  /** A signature of RS256 under a private key in PKCS #8, or null. */
  async rs256(pkcs8, message) {
    const how = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
    try {
      const key = await crypto.subtle.importKey("pkcs8", pkcs8, how, false, ["sign"]);
      return new Uint8Array(await crypto.subtle.sign(how, key, message));
    } catch {
      return null;
    }
  }
}

export default {
  fetch(request, env, ctx) {
    glue.instance();
    const exchange = new Exchange(request, env, ctx);
    const answer = new Promise((resolve) => (exchange.answered = resolve));
    glue.serve(headOf(request), exchange, Date.now());
    // The work goes on when the client leaves: what was sent must be settled.
    ctx.waitUntil(answer);
    return answer;
  },

  async scheduled(event, env, ctx) {
    glue.instance();
    await glue.scheduled(event.scheduledTime, new Exchange(null, env, ctx), Date.now());
  },
};

/** The class that the runtime knows, around the one that Rust exports. */
function shell(Machine) {
  return class extends DurableObject {
    #machine = null;
    #instance = 0;

    constructor(ctx, env) {
      super(ctx, env);
      this.#load();
    }

    /** Loads the machine, unless the one of this instance is there. */
    #load() {
      const instance = glue.instance();
      if (this.#machine && this.#instance === instance) return;
      this.#machine = new Machine(this.ctx);
      this.#instance = instance;
    }

    #call(method, ...args) {
      try {
        this.#load();
        return this.#machine[method](...args);
      } catch (e) {
        // Memory may be half changed; what counts is on disk. The next call loads it again.
        this.#machine = null;
        throw e;
      }
    }

    /** One turn for each message, and one reply; messages and replies are lines. */
    turn(messages) {
      const now = Date.now();
      if (!messages.includes("\n")) return this.#call("turn", messages, now);
      return messages.split("\n").map((message) => this.#call("turn", message, now)).join("\n");
    }

    alarm() {
      return this.#call("alarm", Date.now());
    }
  };
}

export const TenantObject = shell(glue.TenantShell);
export const DirectoryObject = shell(glue.DirectoryShell);
