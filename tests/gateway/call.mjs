// One HTTP exchange, byte for byte: fetch would tidy up paths, headers and broken answers.
import http from "node:http";

/** Longer than any answer in these tests: what takes longer has failed. */
const LIMIT_MS = 30_000;

/**
 * Asks, and resolves when the answer has ended, however it did.
 *
 * @param {string} url                  address and path, sent as written
 * @param {object} [options]
 * @param {string} [options.method]     POST where there is a body, else GET
 * @param {object} [options.headers]    a list as a value sends the header once for each
 * @param {string | Buffer | object} [options.body]  an object is sent as JSON
 * @param {boolean} [options.chunked]   without content-length
 * @param {(seen: Answer) => boolean} [options.leaveWhen]  asked after each piece: true closes the connection
 * @param {number} [options.leaveAfterMs]  closes the connection then
 * @param {Promise<unknown>} [options.leaveOn]  closes the connection when it is fulfilled
 * @param {boolean} [options.politely]  leaves with a FIN and not with a RST. To the runtime on its own a FIN
 *   only says that the client sends no more; that it left shows when something is written to it.
 * @returns {Promise<Answer>}
 *
 * @typedef {object} Answer
 * @property {number | null} status
 * @property {object} headers
 * @property {{at: number, text: string}[]} pieces  with the time at which each came
 * @property {string} text
 * @property {string | null} error      code of the connection's failure, "LEFT" where the caller left
 * @property {number} ms                from the beginning to the end
 * @property {number | null} leftAt     when the caller left
 */
export function call(url, options = {}) {
  const { headers = {}, body, chunked = false, leaveWhen, leaveAfterMs, leaveOn, politely = false } = options;
  const bytes = body === undefined || typeof body === "string" || Buffer.isBuffer(body) ? body : JSON.stringify(body);
  const method = options.method ?? (bytes === undefined ? "GET" : "POST");
  const [, address, target] = /^(http:\/\/[^/]+)(.*)$/.exec(url);
  const sent = { ...headers };
  if (bytes !== undefined && !chunked) sent["content-length"] = Buffer.byteLength(bytes);
  return new Promise((resolve) => {
    const begun = Date.now();
    const seen = { status: null, headers: {}, pieces: [], text: "", error: null, ms: 0, leftAt: null };
    const parts = [];
    const timers = [setTimeout(() => request.destroy(coded("TOO_LONG")), LIMIT_MS)];
    const done = (error) => {
      timers.forEach(clearTimeout);
      seen.error ??= error?.code ?? null;
      seen.text = Buffer.concat(parts).toString();
      seen.ms = Date.now() - begun;
      resolve(seen);
    };
    const leave = () => {
      seen.leftAt = Date.now();
      seen.error = "LEFT";
      if (!politely) request.socket?.resetAndDestroy();
      request.destroy(coded("LEFT"));
    };
    // Its own connection for each exchange: no other test's fault can reach it.
    const request = http.request(address, { method, path: target, headers: sent, agent: false }, (response) => {
      seen.status = response.statusCode;
      seen.headers = response.headers;
      response.on("data", (part) => {
        parts.push(part);
        seen.pieces.push({ at: Date.now(), text: part.toString() });
        if (seen.leftAt === null && leaveWhen?.(seen)) leave();
      });
      response.on("error", done);
      response.on("end", () => done());
    });
    request.on("error", (error) => {
      // An early answer may close the connection while the body is still being sent.
      if (seen.status === null || seen.leftAt !== null) done(error);
    });
    leaveOn?.then(leave);
    if (leaveAfterMs !== undefined) timers.push(setTimeout(leave, leaveAfterMs));
    request.end(bytes);
  });
}

const coded = (code) => Object.assign(new Error(code), { code });

/** The events of a stream, as they were sent. */
export const rawEvents = (text) => text.split(/(?<=\n\n)/);

/** A stream without the comments that fill its silence. */
export const spoken = (text) => rawEvents(text).filter((event) => !event.startsWith(":")).join("");

/** The data of a stream's events; `[DONE]` stays what it is. */
export function events(text) {
  const data = rawEvents(spoken(text)).map((event) => event.trim()).filter(Boolean).map((event) => event.replace(/^data: /, ""));
  return data.map((one) => (one === "[DONE]" ? one : JSON.parse(one)));
}

/** Asks again until `check` gives something, and returns that. */
export async function until(what, check, limitMs = 5000) {
  const deadline = Date.now() + limitMs;
  let last;
  for (;;) {
    last = await check();
    if (last) return last;
    if (Date.now() > deadline) throw new Error(`not within ${limitMs} ms: ${what}`);
    await pause(15);
  }
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
