// Faults that are switched on and off at run time, and answers whose tokens the prompt tells.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { eventsOf, exchange, startSimulator } from "./start.mjs";

let simulator;
before(async () => {
  simulator = await startSimulator("--ttft-ms", "0", "--itl-ms", "1", "--tokens", "12");
});
after(() => simulator.stop());

const ask = (model, more = {}) => ({ model, messages: [{ role: "user", content: "Hello" }], ...more });
const call = (body, options) => exchange(simulator.url, body, options);
const control = (body) => exchange(simulator.url, body, { path: "/control", key: null });
const set = async (body) => {
  const { status, text } = await control(body);
  assert.equal(status, 200, text);
  return JSON.parse(text).faults;
};
const statuses = async (model, n) => {
  const seen = [];
  for (let i = 0; i < n; i += 1) seen.push((await call(ask(model))).status);
  return seen;
};

test("a fault hits its model from then on, until it is ended", async () => {
  assert.deepEqual(await statuses("sim-a-l0", 2), [200, 200]);
  await set({ model: "sim-a-l0", fault: "e503" });
  assert.deepEqual(await statuses("simulated/sim-a-l0", 2), [503, 503]);
  assert.deepEqual(await statuses("sim-other-l0", 1), [200]);
  await set({ model: "sim-a-l0", fault: null });
  assert.deepEqual(await statuses("sim-a-l0", 2), [200, 200]);
});

test("a share of the requests has it, evenly, and the control counts them", async () => {
  await set({ model: "sim-half-l0", fault: "e500", share: 0.5 });
  assert.deepEqual(await statuses("sim-half-l0", 6), [200, 500, 200, 500, 200, 500]);
  await set({ model: "sim-tenth-l0", fault: "e500", share: 0.1 });
  const tenth = await statuses("sim-tenth-l0", 30);
  assert.deepEqual(tenth.map((status, at) => (status === 500 ? at + 1 : 0)).filter(Boolean), [10, 20, 30]);
  const { faults } = JSON.parse((await exchange(simulator.url, undefined, { method: "GET", path: "/control", key: null })).text);
  assert.equal(faults.find(({ model }) => model === "sim-half-l0").hit, 3);
});

test("it ends by itself", async () => {
  const until = Date.now() + 300;
  await set({ model: "sim-brief-l0", fault: "e500", until_ms: until });
  assert.deepEqual(await statuses("sim-brief-l0", 1), [500]);
  await new Promise((resolve) => setTimeout(resolve, until - Date.now() + 20));
  assert.deepEqual(await statuses("sim-brief-l0", 1), [200]);
});

test("errors ask for the pause that it names", async () => {
  await set({ model: "sim-pause-l0", fault: "e429", retry_after: "1000000000" });
  assert.equal((await call(ask("sim-pause-l0"))).headers["retry-after"], "1000000000");
  await set({ model: "sim-pause-l0", fault: "e503", retry_after_date_s: 30 });
  const { status, headers } = await call(ask("sim-pause-l0"));
  const wait = Date.parse(headers["retry-after"]) - Date.now();
  assert.ok(status === 503 && wait > 27_000 && wait <= 30_000, headers["retry-after"]);
  await set({ model: "sim-pause-l0", fault: "e429" });
  assert.equal((await call(ask("sim-pause-l0"))).headers["retry-after"], "1");
});

test("faults of streams are those of names", async () => {
  await set({ model: "sim-stream", fault: "x2" });
  const cut = await call(ask("sim-stream", { stream: true }));
  assert.equal(cut.error, "ECONNRESET");
  await set({ model: "sim-stream", fault: "early-t60000" });
  const silent = await call(ask("sim-stream", { stream: true }), { giveUpAfterMs: 150 });
  assert.deepEqual([silent.status, silent.text, silent.error], [200, "", "GAVE_UP"]);
});

test("short: the connection is closed before the answer's end", async () => {
  const whole = await call(ask("sim-l0-short"));
  assert.equal(whole.error, "ECONNRESET");
  assert.ok(whole.text.length > 0 && whole.text.length < Number(whole.headers["content-length"]));
  const stream = await call(ask("sim-short", { stream: true }));
  assert.notEqual(stream.error, null);
  assert.ok(!stream.text.includes("[DONE]") && stream.text.length > 0);
  assert.equal((await simulator.ended("sim-short")).ended, "cut");
});

test("what is wrong is refused and changes nothing", async () => {
  const before = await set({ model: "sim-kept-l0", fault: "e500" });
  for (const body of [
    "{",
    "[]",
    {},
    { model: "", fault: "e500" },
    { model: "sim-kept-l0", fault: "" },
    { model: "sim-kept-l0", fault: 500 },
    { model: "sim-kept-l0", fault: "e503", share: 0 },
    { model: "sim-kept-l0", fault: "e503", share: "1" },
    { model: "sim-kept-l0", fault: "e503", share: 1.1 },
    { model: "sim-kept-l0", fault: "e503", until_ms: "soon" },
    { model: "sim-kept-l0", fault: "e503", retry_after: "1\r\nx: y" },
    { model: "sim-kept-l0", fault: "e503", retry_after_date_s: 0.5 },
    { model: "sim-kept-l0", fault: "e503", forever: true },
  ]) {
    const { status, text } = await control(body);
    assert.equal(status, 400, JSON.stringify(body));
    assert.equal(typeof JSON.parse(text).error.message, "string");
  }
  assert.equal((await exchange(simulator.url, undefined, { method: "DELETE", path: "/control" })).status, 405);
  const after = JSON.parse((await exchange(simulator.url, undefined, { method: "GET", path: "/control" })).text).faults;
  assert.deepEqual(after, before);
});

test("a prompt can tell its tokens and those of its answer", async () => {
  const body = (content, more) => ({ model: "sim-told-l0", messages: [{ role: "user", content }], ...more });
  const { usage, choices } = JSON.parse((await call(body("[usage 1234 7 34] and more"))).text);
  assert.deepEqual([usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details.cached_tokens], [1234, 7, 34]);
  assert.equal(choices[0].message.content.split(" ").length, 7);
  const events = eventsOf((await call(body("[usage 20 3]", { stream: true, stream_options: { include_usage: true } }))).text);
  const told = events.at(-2).usage;
  assert.deepEqual([told.prompt_tokens, told.completion_tokens], [20, 3]);
  const journal = await simulator.journal({ model: "sim-told-l0" });
  assert.deepEqual(journal.map((entry) => [entry.usage.prompt, entry.usage.cached, entry.usage.completion]), [[1234, 34, 7], [20, 0, 3]]);
  // Anywhere else it is text like any other.
  assert.notEqual(JSON.parse((await call(body("so [usage 1 1]"))).text).usage.prompt_tokens, 1);
});

test("the journal keeps as many requests as it is told", async () => {
  const own = await startSimulator("--journal", "3");
  try {
    for (const n of [1, 2, 3, 4]) await exchange(own.url, ask(`sim-l0-k${n}`));
    assert.deepEqual((await own.journal()).map(({ model }) => model), ["sim-l0-k2", "sim-l0-k3", "sim-l0-k4"]);
  } finally {
    await own.stop();
  }
});
