// What the tests, which are Rust, need of Node: Miniflare with the built worker, the simulated provider,
// HTTP and time. CommonJS, because the test runner of wasm-bindgen loads it with `require`. It decides nothing
// and asserts nothing. Values cross as JSON.
"use strict";
const { mkdtempSync, readFileSync, rmSync } = require("node:fs");
const http = require("node:http");
const { createRequire } = require("node:module");
const { tmpdir } = require("node:os");
const path = require("node:path");
const { pathToFileURL } = require("node:url");

/** The project. Cargo starts a test in the folder of its package. */
const ROOT = path.resolve("../..");
const HOST = "127.0.0.1";
const NAME = "tollgate";
const CRON = "* * * * *";
/** Longer than any answer in these tests takes, on a busy machine too: what takes longer has failed. */
const LIMIT_MS = 60_000;

/** One simulated provider for all gateways. It ends with this process. */
let simulator;
/** Everything that a run writes. The runner leaves by `process.exit`, also when a test fails. */
let folder;

function runFolder() {
  if (!folder) {
    folder = mkdtempSync(path.join(tmpdir(), "tollgate-workerd-"));
    process.once("exit", () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  }
  return folder;
}

/** A gateway: Miniflare, which is started again on the same state after `stop(true)`. */
class Site {
  constructor(vars) {
    this.vars = vars;
    this.state = mkdtempSync(path.join(runFolder(), "state-"));
    this.lines = [];
  }

  async start() {
    const { Miniflare } = createRequire(path.join(ROOT, "package.json"))("miniflare");
    this.miniflare = new Miniflare(this.options());
    this.url = (await this.miniflare.ready).origin;
  }

  /** What wrangler.toml says, in Miniflare's words. */
  options() {
    const file = (name, ...encoding) => readFileSync(path.join(ROOT, name), ...encoding);
    const date = /^compatibility_date = "([\d-]+)"$/m.exec(file("wrangler.toml", "utf8"))[1];
    const object = (exportName) => ({ type: "durable-object", worker: NAME, exportName });
    const texts = Object.entries(this.vars).map(([name, value]) => [name, { type: "text", value }]);
    const config = {
      name: NAME,
      compatibilityDate: date,
      manifest: {
        mainModule: "index.js",
        modulesRoot: path.join(ROOT, "build"),
        modules: {
          "index.js": { type: "esm", contents: file("build/index.js", "utf8") },
          "index.wasm": { type: "wasm", contents: new Uint8Array(file("build/index.wasm")) },
        },
      },
      env: {
        ...Object.fromEntries(texts),
        TENANTS: object("TenantObject"),
        DIRECTORY: object("DirectoryObject"),
        CACHE: { type: "kv", id: "CACHE" },
      },
      exports: {
        TenantObject: { type: "durable-object", storage: "sqlite" },
        DirectoryObject: { type: "durable-object", storage: "sqlite" },
      },
    };
    return {
      host: HOST,
      port: 0,
      // Otherwise it would ask Cloudflare where this machine is.
      cf: false,
      telemetry: { enabled: false },
      logRequests: false,
      resourcePersistencePath: this.state,
      resourceTmpPath: runFolder(),
      handleStructuredLogs: ({ message }) => this.lines.push(message),
      workers: [{ config, dev: { rootPath: ROOT } }],
    };
  }

  /** Kills the runtime: Miniflare ends it with SIGKILL. */
  async stop(keep) {
    await this.miniflare.dispose();
    if (!keep) rmSync(this.state, { recursive: true, force: true, maxRetries: 5 });
  }

  /** One request over a real connection. `first_ms` is when the body's first piece came. */
  fetch(json) {
    const answer = this.ask(json);
    // A test may leave a request behind, and kill the gateway. One that it awaits still tells it of the error.
    answer.catch(() => {});
    return answer;
  }

  ask(json) {
    const { method, path: target, headers, body } = JSON.parse(json);
    const begun = performance.now();
    // A connection for each: one that is kept could be closed by the other side just when it is used again.
    const options = { method, path: target, agent: false, signal: AbortSignal.timeout(LIMIT_MS) };
    return new Promise((resolve, reject) => {
      const request = http.request(this.url, options, async (response) => {
        const answer = { status: response.statusCode, headers: response.headers, text: "", first_ms: null };
        response.setEncoding("utf8");
        try {
          for await (const piece of response) {
            answer.first_ms ??= performance.now() - begun;
            answer.text += piece;
          }
          resolve(JSON.stringify({ ...answer, total_ms: performance.now() - begun }));
        } catch (error) {
          reject(error);
        }
      });
      request.on("error", (error) => reject(new Error(`${method} ${target}: ${error.message}`)));
      for (const [name, value] of headers) request.setHeader(name, value);
      request.end(body ?? undefined);
    });
  }

  /** Takes the memory of a tenant's object, as the platform does with an idle one. */
  async evict(tenant) {
    await this.miniflare.unsafeEvictDurableObject(NAME, "TenantObject", { name: tenant });
  }

  /** Fires the cron handler. Resolves to its outcome. */
  async scheduled(atMs) {
    const worker = await this.miniflare.getWorker();
    return (await worker.scheduled({ scheduledTime: new Date(atMs), cron: CRON })).outcome;
  }

  /** The entries of KV, with when they expire (in seconds) and their metadata. */
  async kvList() {
    const kv = await this.miniflare.getKVNamespace("CACHE");
    const { keys, list_complete: complete } = await kv.list();
    if (!complete) throw new Error("more KV entries than one list has");
    return JSON.stringify(keys);
  }

  async kvGet(name) {
    const kv = await this.miniflare.getKVNamespace("CACHE");
    return JSON.stringify(await kv.getWithMetadata(name, "text"));
  }

  async kvPut(name, value, metadata) {
    const kv = await this.miniflare.getKVNamespace("CACHE");
    await kv.put(name, value, { metadata: JSON.parse(metadata) ?? undefined });
  }

  log() {
    return JSON.stringify(this.lines);
  }
}

/** Starts a gateway. A variable that is null is unset. */
async function start(json) {
  const { startSimulator, withSimulator } = await import(pathToFileURL(path.join(ROOT, "scripts/lib/stack.mjs")).href);
  simulator ??= await startSimulator();
  const vars = { ...withSimulator({}, simulator.url), ...JSON.parse(json) };
  const set = Object.entries(vars).filter(([, value]) => value !== null);
  const site = new Site(Object.fromEntries(set));
  await site.start();
  return site;
}

/** What the simulated provider was asked for a model, newest first. */
async function journal(model) {
  const query = new URLSearchParams({ model });
  const response = await fetch(`${simulator.url}/journal?${query}`, { signal: AbortSignal.timeout(LIMIT_MS) });
  return JSON.stringify((await response.json()).requests);
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

module.exports = { start, journal, pause };
