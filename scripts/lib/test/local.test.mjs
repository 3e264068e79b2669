import assert from "node:assert/strict";
import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { startGateway } from "../local.mjs";

const EMPTY_WASM = Buffer.from([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]);
const POLL_MS = 25;

let root;
let options;
let gateway;
let lines;

before(async () => {
  root = await mkdtemp(path.join(os.tmpdir(), "tollgate-"));
  await copyFile(path.join(path.dirname(fileURLToPath(import.meta.url)), "stub.js"), path.join(root, "index.js"));
  await writeFile(path.join(root, "index.wasm"), EMPTY_WASM);
  lines = [];
  options = {
    bundleDir: root,
    stateDir: path.join(root, "state"),
    env: { PLAIN: "value", AWKWARD: 'a "quote", a \\, é and\na line', ABSENT: undefined },
    onLog: (line, stream) => lines.push([stream, line]),
    kvMinTtlS: 1,
  };
  gateway = await startGateway(options);
});

after(async () => {
  await gateway.kill();
  await rm(root, { recursive: true, force: true });
});

const get = async (route) => (await fetch(gateway.baseUrl + route)).json();
const kv = async (...call) => (await fetch(`${gateway.baseUrl}/kv`, { method: "POST", body: JSON.stringify(call) })).json();
const fire = (query) => fetch(`${gateway.controlUrl}/scheduled?${query}`, { method: "POST" });

/** Asks again until the answer is right; the test runner's own limit ends it. */
async function until(ask) {
  while (!(await ask())) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
}

test("the worker has its wasm and its variables", async () => {
  assert.deepEqual(await get("/healthz"), { wasm: true });
  assert.deepEqual(await get("/variables"), {
    PLAIN: "value",
    AWKWARD: options.env.AWKWARD,
    // what every local gateway gets unless told otherwise
    TOLLGATE_HEARTBEAT_MS: "500",
    TOLLGATE_HOLD_MS: "500",
  });
});

test("output comes line by line", async () => {
  await get("/print");
  await until(() => lines.length >= 2);
  assert.deepEqual(lines.sort(), [
    ["stderr", "to stderr"],
    ["stdout", "to stdout"],
  ]);
});

test("the cron handler is fired with its time", async () => {
  assert.equal((await fire("cron=*%20*%20*%20*%20*&time=1700000000000")).status, 200);
  assert.deepEqual(await get("/noted?name=fired"), ["* * * * *", 1_700_000_000_000]);
  assert.equal((await fire("cron=fail")).status, 500);
  assert.equal((await fire("time=soon")).status, 400);
});

test("a server on this machine can be called", async () => {
  assert.equal(await get(`/fetch?url=${encodeURIComponent(`${gateway.baseUrl}/healthz`)}`), 200);
});

test("a client that goes away is seen", async () => {
  const client = new AbortController();
  const answer = await fetch(`${gateway.baseUrl}/stream`, { signal: client.signal });
  await answer.body.getReader().read();
  client.abort();
  await until(() => get("/noted?name=gone"));
});

test("KV: values, metadata, awkward keys, lists and many at once", async () => {
  const key = "a/ö %?#&+";
  await kv("put", key, "one", { metadata: { note: "é" } });
  await kv("put", "b", '{"n":2}');
  await kv("put", "empty", "");
  assert.deepEqual(await kv("get", key), { result: "one" });
  assert.deepEqual(await kv("get", "empty"), { result: "" });
  assert.deepEqual(await kv("get", "b", "json"), { result: { n: 2 } });
  assert.deepEqual(await kv("get", "nothing"), { result: null });
  const { result } = await kv("getWithMetadata", key);
  assert.deepEqual([result.value, result.metadata], ["one", { note: "é" }]);

  const first = (await kv("list", { limit: 2 })).result;
  assert.deepEqual(first.keys, [{ name: key, metadata: { note: "é" } }, { name: "b" }]);
  assert.equal(first.list_complete, false);
  const second = (await kv("list", { limit: 2, cursor: first.cursor })).result;
  assert.deepEqual([second.keys, second.list_complete], [[{ name: "empty" }], true]);
  assert.deepEqual((await kv("list", { prefix: "a/" })).result.keys.length, 1);

  assert.deepEqual(await kv("get", ["b", "nothing"], "json"), { result: [["b", { n: 2 }], ["nothing", null]] });
  await kv("delete", "b");
  assert.deepEqual(await kv("get", "b"), { result: null });
});

test("KV: values of up to 25 MiB, keys of up to 512 bytes", async () => {
  assert.equal(await get(`/big?size=${25 * 1024 * 1024}`), true);
  assert.equal(await get("/big?size=10"), true);
  assert.match((await kv("put", "k".repeat(513), "")).error, /414/);
});

test("KV: an expired entry is gone, from a read and from the list", async () => {
  assert.match((await kv("put", "soon", "x", { expirationTtl: 0 })).error, /400/);
  await kv("put", "soon", "x", { expirationTtl: 1 });
  assert.deepEqual(await kv("get", "soon"), { result: "x" });
  await until(async () => (await kv("get", "soon")).result === null);
  assert.deepEqual((await kv("list", { prefix: "soon" })).result.keys, []);
});

test("state outlives a stop and a kill, on the same port", async () => {
  assert.equal(await get("/count"), 1);
  await kv("put", "kept", "value");
  await gateway.stop();
  assert.deepEqual(await gateway.exited, { code: 0, signal: null });

  gateway = await startGateway(options);
  assert.equal(await get("/count"), 2);
  assert.deepEqual(await kv("get", "kept"), { result: "value" });
  await gateway.kill();

  gateway = await startGateway({ ...options, port: gateway.port });
  assert.equal(await get("/count"), 3);
  assert.deepEqual(await kv("get", "kept"), { result: "value" });
});

test("another server can be the KV", async () => {
  const faulty = http.createServer((_, response) => response.writeHead(503).end());
  await new Promise((resolve) => faulty.listen(0, "127.0.0.1", resolve));
  const other = { ...options, stateDir: path.join(root, "faulty"), kvAddress: `127.0.0.1:${faulty.address().port}` };
  const second = await startGateway(other);
  const answer = await fetch(`${second.baseUrl}/kv`, { method: "POST", body: '["get","a"]' });
  assert.match((await answer.json()).error, /503/);
  await second.stop();
  faulty.close();
});

test("a start that fails says why", async () => {
  const stateDir = path.join(root, "failing");
  await assert.rejects(startGateway({ ...options, stateDir, port: gateway.port }), /Address already in use/);
  const bundleDir = path.join(root, "broken");
  await mkdir(bundleDir);
  await writeFile(path.join(bundleDir, "index.js"), 'throw new Error("no good"); export default {};');
  await writeFile(path.join(bundleDir, "index.wasm"), EMPTY_WASM);
  await assert.rejects(startGateway({ ...options, stateDir, bundleDir }), /no good/);
});
