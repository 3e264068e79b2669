// What the simulator saw and did, for tests to look into.

/** A longer body is not kept: `body` is then null and `body_bytes` still says how long it was. */
const KEPT_BODY_BYTES = 16 * 1024;
/** Timestamps kept per request, so that one endless stream cannot fill the memory. */
const KEPT_TIMESTAMPS = 10_000;

class Entry {
  constructor(journal, id, req, path, format) {
    this.journal = journal;
    this.id = id;
    this.at = Date.now();
    this.method = req.method;
    this.path = path;
    /** How to answer; another one once the route is known. */
    this.format = format;
    this.rawHeaders = req.rawHeaders;
    this.key = null;
    this.model = null;
    this.stream = false;
    this.text = null;
    this.bytes = 0;
    this.status = null;
    this.chunks = [];
    this.ended = null;
    this.endedAt = null;
    /** What the answer says of its tokens. */
    this.usage = null;
    /** The header of an error that asks for a pause, where the control says so. */
    this.retryAfter = null;
  }

  keepBody(text, bytes) {
    this.bytes = bytes;
    if (bytes <= KEPT_BODY_BYTES) this.text = text;
  }

  chunksSent(count, now) {
    for (let i = 0; i < count && this.chunks.length < KEPT_TIMESTAMPS; i += 1) this.chunks.push(now);
  }

  /** From now on this request is left waiting; it ends when the client goes. */
  hang() {
    this.ended = "hang";
  }

  end(how) {
    if (this.endedAt !== null) return;
    this.ended = how;
    this.endedAt = Date.now();
    this.journal.open -= 1;
    if (this.stream) this.journal[how === "done" ? "streamsDone" : "streamsCut"] += 1;
  }

  /** The connection is closed. An answer that had been handed over but never left was not done after all. */
  closed(allSent) {
    if (this.ended === "done" && !allSent) {
      this.ended = "client_gone";
      this.endedAt = Date.now();
      if (this.stream) {
        this.journal.streamsDone -= 1;
        this.journal.streamsCut += 1;
      }
    }
    this.end("client_gone");
  }

  toJSON() {
    let body = null;
    try {
      if (this.text !== null && this.text !== "") body = JSON.parse(this.text);
    } catch {
      body = this.text;
    }
    return {
      id: this.id, at_ms: this.at, method: this.method, path: this.path, model: this.model, stream: this.stream,
      headers: headersOf(this.rawHeaders), body, body_bytes: this.bytes, status: this.status,
      chunks_sent: this.chunks, ended: this.ended, ended_at_ms: this.endedAt, usage: this.usage,
    };
  }
}

/** Names and values as received; a name that came more than once has a list of its values. */
function headersOf(raw) {
  const headers = {};
  for (let i = 0; i < raw.length; i += 2) {
    const before = Object.hasOwn(headers, raw[i]) ? headers[raw[i]] : undefined;
    headers[raw[i]] = before === undefined ? raw[i + 1] : [before, raw[i + 1]].flat();
  }
  return headers;
}

export class Journal {
  /** @param {number} kept  how many requests are kept, the newest */
  constructor(kept) {
    this.kept = kept;
    this.requests = 0;
    this.open = 0;
    this.streamsDone = 0;
    this.streamsCut = 0;
    this.clear();
  }

  begin(req, path, format) {
    this.requests += 1;
    this.open += 1;
    const entry = new Entry(this, `req_${this.requests}`, req, path, format);
    this.ring[this.next] = entry;
    this.next = (this.next + 1) % this.kept;
    return entry;
  }

  clear() {
    this.ring = [];
    this.next = 0;
  }

  /** Oldest first; `contains` looks in the body's text, `model` is exact, `limit` keeps the newest. */
  list({ contains, model, limit } = {}) {
    let entries = [...this.ring.slice(this.next), ...this.ring.slice(0, this.next)];
    if (contains !== undefined) entries = entries.filter((entry) => entry.text?.includes(contains));
    if (model !== undefined) entries = entries.filter((entry) => entry.model === model);
    return { requests: limit === undefined ? entries : entries.slice(-limit) };
  }

  stats() {
    return {
      requests: this.requests, open: this.open, streams_done: this.streamsDone, streams_cut: this.streamsCut,
    };
  }
}
