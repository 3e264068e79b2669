// A KV namespace that can be told to fail. workerd asks it over HTTP, as scripts/lib/kv.mjs has it.
import http from "node:http";

/**
 * @returns {Promise<{address: string, entries: Map<string, {value: Buffer, metadata: string}>, fault: Fault,
 *   asked: string[], stop: () => Promise<void>}>}  `fault` may be set at any time; null works
 * @typedef {null | "error" | "hang" | "reset"} Fault
 */
export async function startKv() {
  const kv = { entries: new Map(), fault: null, asked: [] };
  const server = http.createServer((request, response) => {
    const key = decodeURIComponent(request.url.slice(1).split("?")[0]);
    kv.asked.push(`${request.method} ${key}`);
    if (kv.fault === "hang") return;
    if (kv.fault === "reset") return void request.socket.resetAndDestroy();
    if (kv.fault === "error") return void response.writeHead(500).end("broken");
    if (request.method === "PUT") {
      const parts = [];
      request.on("data", (part) => parts.push(part));
      request.on("end", () => {
        kv.entries.set(key, { value: Buffer.concat(parts), metadata: request.headers["cf-kv-metadata"] });
        response.end();
      });
      return;
    }
    const entry = kv.entries.get(key);
    if (!entry) return void response.writeHead(404).end();
    response.writeHead(200, entry.metadata === undefined ? {} : { "CF-KV-Metadata": entry.metadata });
    response.end(entry.value);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  kv.address = `127.0.0.1:${server.address().port}`;
  kv.stop = () => {
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    return closed;
  };
  return kv;
}
