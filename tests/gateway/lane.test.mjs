// Messages of many requests to one object travel together (src/edge/lane.mjs), and each request still gets
// its own reply.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import test from "node:test";
import { ROOT } from "../../scripts/lib/stack.mjs";
import { Lane } from "../../src/edge/lane.mjs";
import { ask, openSite } from "./site.mjs";
import { counted, spiedBundle } from "./spy.mjs";

/** An object that answers each message with itself, in upper case, after a while. */
function echo(ms = 2) {
  const calls = [];
  const call = async (messages) => {
    calls.push(messages.split("\n"));
    await new Promise((resolve) => setTimeout(resolve, ms));
    return messages.toUpperCase();
  };
  return { calls, call };
}
const none = () => assert.fail("a reply was left over");
const words = (n) => Array.from({ length: n }, (_, i) => `m${i}`);

test("a request that is alone is a call of its own, at once", async () => {
  const { calls, call } = echo();
  const lane = new Lane(none);
  for (const word of words(5)) {
    const reply = lane.ask(word, call);
    assert.equal(calls.at(-1)[0], word, "it did not wait for company");
    assert.equal(await reply, word.toUpperCase());
  }
  assert.deepEqual(calls.map((messages) => messages.length), [1, 1, 1, 1, 1]);
  assert.ok(lane.idle);
});

test("many at once travel together, and each gets its own reply", async () => {
  const { calls, call } = echo();
  const lane = new Lane(none);
  const all = words(200);
  const replies = await Promise.all(all.map((word) => lane.ask(word, call)));
  assert.deepEqual(replies, all.map((word) => word.toUpperCase()));
  assert.deepEqual(calls.flat().sort(), [...all].sort(), "each message is carried once");
  assert.ok(calls.length <= 8, `${calls.length} calls`);
  assert.ok(calls.every((messages) => messages.length <= 64), "a call has a bound");
  assert.ok(lane.idle);
});

test("who finds that another took its message does not send it again", async () => {
  const { calls, call } = echo();
  const lane = new Lane(none);
  // The first waits on for the call that is under way; the last, for whom there is no more room, does not.
  lane.flying = 1;
  const all = words(65);
  const asked = all.slice(0, 64).map((word) => lane.ask(word, call));
  setTimeout(() => (lane.flying = 0), 1);
  asked.push(lane.ask(all[64], call));
  assert.deepEqual(await Promise.all(asked), all.map((word) => word.toUpperCase()));
  assert.deepEqual(calls.flat().sort(), [...all].sort(), "each message is carried once");
});

test("messages are rescued whose carrier is gone", async () => {
  const { calls, call } = echo();
  const lane = new Lane(none);
  lane.queue.push({ message: "gone", taken: false, gone: false });
  assert.deepEqual(await Promise.all([lane.ask("a", call), lane.ask("b", call)]), ["A", "B"]);
  assert.deepEqual(calls, [["gone", "a", "b"]]);
  assert.ok(lane.idle);
});

test("what a call throws, all who travelled with it get, and the next ones are served", async () => {
  const { call } = echo();
  const lane = new Lane(none);
  const failing = async (messages) => {
    await call(messages);
    throw new Error("the object is gone");
  };
  const ended = await Promise.allSettled(words(10).map((word) => lane.ask(word, failing)));
  assert.ok(ended.every(({ status, reason }) => status === "rejected" && reason.message === "the object is gone"));
  assert.equal(await lane.ask("after", call), "AFTER");
  assert.ok(lane.idle);
});

test("a slow object is asked by each for itself", async () => {
  const { calls, call } = echo(300);
  const lane = new Lane(none);
  await lane.ask("slow", call);
  await Promise.all(words(10).map((word) => lane.ask(word, call)));
  assert.equal(calls.length, 11);
});

test("on the running gateway, 64 clients make far fewer calls than requests, and the count is exact", async (t) => {
  const dir = await mkdtemp(path.join(os.tmpdir(), "tollgate-lane-"));
  await spiedBundle(path.join(ROOT, "build"), dir);
  const site = await openSite({ gateway: { bundleDir: dir } });
  t.after(async () => {
    await site.close();
    await rm(dir, { recursive: true });
  });
  const limits = [{ id: "rph", requests: 150, window_s: 3600 }];
  const budgets = [{ id: "all", limit_usd: "100", period: "total" }];
  const tenant = await site.tenant("lane", { limits, budgets });
  await tenant.chat(ask("sim-lane-l0"));
  await tenant.settled();
  const before = await counted(site.url);
  const statuses = [];
  const client = async () => {
    for (let i = 0; i < 5; i += 1) statuses.push((await tenant.chat(ask("sim-lane-l0"))).status);
  };
  await Promise.all(Array.from({ length: 64 }, client));
  await tenant.settled();
  const after = await counted(site.url);
  assert.equal(statuses.filter((status) => status === 200).length, 149);
  assert.equal(statuses.filter((status) => status === 429).length, 320 - 149);
  assert.equal(after.turns.admit - before.turns.admit, 320);
  // About a hundred on a calm machine; on a busy one fewer travel together.
  assert.ok(after.calls - before.calls < 256, `${after.calls - before.calls} calls for 320 requests`);
});
