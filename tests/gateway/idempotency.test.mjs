// Idempotency-Key: the request has its effect once, and its answer is given again.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { events, spoken, until } from "./call.mjs";
import { assertFailure, FAILURES } from "./failure.mjs";
import { ONCE, ask, openSite } from "./site.mjs";

let site;
let acme;

before(async () => {
  site = await openSite();
  acme = await site.tenant("acme", { retry: ONCE });
});

after(async () => {
  if (site) await site.close();
});

const under = (key) => ({ headers: { "idempotency-key": key } });
/** How often the provider was asked for a model. */
const asked = async (model) => (await site.journal({ model })).length;

/** Asks until the first answer can be repeated: it is stored after it was given. */
const repeat = (body, key, tenant = acme) =>
  until("the answer is repeated", async () => {
    const answer = await tenant.chat(body, under(key));
    return answer.headers["idempotent-replayed"] === "true" && answer;
  });

test("a repetition gets the same answer, and nothing is asked or charged again", async () => {
  const tenant = await site.tenant("same", { limits: [{ id: "rph", requests: 2, window_s: 3600 }] });
  const body = ask("sim-same-l0");
  const first = await tenant.chat(body, under("k1"));
  assert.deepEqual([first.status, first.headers["idempotent-replayed"]], [200, undefined]);
  const again = await repeat(body, "k1", tenant);
  assert.deepEqual([again.status, again.text, again.headers["content-type"]], [200, first.text, first.headers["content-type"]]);
  assert.deepEqual([again.headers["x-tollgate-cost-usd"], again.headers["x-tollgate-attempts"]], ["0", "0"]);
  assert.equal(await asked("sim-same-l0"), 1);
  assert.equal((await tenant.settled()).spent_usd, first.headers["x-tollgate-cost-usd"]);
  // It takes nothing of the limit either: a second request still passes, a third does not.
  assert.equal((await tenant.chat(body)).status, 200);
  assert.equal((await tenant.chat(body)).status, 429);
  assert.equal((await tenant.chat(body, under("k1"))).status, 200);
});

test("a stream is repeated as a stream", async () => {
  const body = ask("sim-again-n20-i1", { stream: true, stream_options: { include_usage: true } });
  const first = await acme.chat(body, under("s1"));
  const again = await repeat(body, "s1");
  assert.match(again.headers["content-type"], /^text\/event-stream/);
  assert.equal(again.text, spoken(first.text).replace(/"cost_usd":"[\d.]+"/, '"cost_usd":"0"'));
  assert.equal(events(again.text).at(-1), "[DONE]");
  assert.equal(await asked("sim-again-n20-i1"), 1);
});

test("the same key with another body is a conflict, and another tenant's or gateway key's is its own", async () => {
  await acme.chat(ask("sim-other-l0"), under("o1"));
  assertFailure(await acme.chat(ask("sim-other-l0", { seed: 2 }), under("o1")), FAILURES.idempotencyConflict);
  const { key } = await acme.newKey({ name: "second" });
  assert.equal((await acme.chat(ask("sim-other-l0", { seed: 2 }), { ...under("o1"), key })).status, 200);
  const other = await site.tenant("other");
  assert.equal((await other.chat(ask("sim-other-l0", { seed: 2 }), under("o1"))).status, 200);
  assert.equal(await asked("sim-other-l0"), 3);
});

test("while the first is under way the second is told to come back, and only one is sent", async () => {
  const body = ask("sim-slow-l600");
  const answers = await Promise.all(Array.from({ length: 8 }, () => acme.chat(body, under("p1"))));
  const [won, ...lost] = answers.sort((a, b) => a.status - b.status);
  assert.equal(won.status, 200);
  for (const answer of lost) assertFailure(answer, FAILURES.idempotencyInProgress);
  assert.equal((await repeat(body, "p1")).text, won.text);
  assert.equal(await asked("sim-slow-l600"), 1);
});

test("what failed is sent again by its repetition", async () => {
  const body = ask("sim-e500-failed");
  assert.equal((await acme.chat(body, under("f1"))).status, 502);
  const tries = await until("the key is free again", async () => {
    const { status } = await acme.chat(body, under("f1"));
    return status === 502 && (await asked("sim-e500-failed"));
  });
  assert.equal(tries, 2);
});

test("a claim outlives the process", async () => {
  const body = ask("sim-kept-l0");
  const first = await acme.chat(body, under("kept"));
  await repeat(body, "kept");
  await site.killAndRestart();
  const again = await acme.chat(body, under("kept"));
  assert.deepEqual([again.status, again.text, again.headers["idempotent-replayed"]], [200, first.text, "true"]);
  assert.equal(await asked("sim-kept-l0"), 1);
});

test("a key that is too long is refused", async () => {
  const answer = await acme.chat(ask("sim-long-l0"), under("k".repeat(256)));
  assertFailure(answer, FAILURES.field("idempotency-key"));
  assert.equal(await asked("sim-long-l0"), 0);
});
