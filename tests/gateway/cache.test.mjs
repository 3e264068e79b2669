// The response cache: whose answers it gives to whom, which it keeps, and what happens without it.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { pause, spoken, until } from "./call.mjs";
import { FAILURES, assertFailure } from "./failure.mjs";
import { startKv } from "./kv.mjs";
import { ONCE, ask, openSite } from "./site.mjs";

/** The longest that a request may wait for KV. */
const KV_MS = 200;
/** What a busy machine may add to it. */
const SLACK_MS = 250;
const cache = { enabled: true, ttl_s: 300 };
const mode = (value, more) => ({ headers: { "x-tollgate-cache": value, ...more } });

let kv;
let site;
let acme;
let rival;

before(async () => {
  kv = await startKv();
  site = await openSite({ gateway: { kvAddress: kv.address } });
  [acme, rival] = await Promise.all(["acme", "rival"].map((id) => site.tenant(id, { cache, retry: ONCE })));
});

after(async () => {
  if (site) await site.close();
  if (kv) await kv.stop();
});

const state = (answer) => answer.headers["x-tollgate-cache"];
const seen = async (body) => (await site.journal({ model: body.model.slice("simulated/".length) })).length;

/** Asks until the answer comes from the cache: it is stored after the first one has left. */
function hit(tenant, body, options) {
  return until("the answer is stored", async () => {
    const answer = await tenant.chat(body, options);
    assert.equal(answer.status, 200);
    return state(answer) === "hit" ? answer : null;
  }, 2000);
}

/** Asks once and waits until KV has the answer. */
async function fill(tenant, body, options) {
  const before = kv.asked.filter((one) => one.startsWith("PUT")).length;
  const answer = await tenant.chat(body, options);
  await until("the answer is stored", () => kv.asked.filter((one) => one.startsWith("PUT")).length > before);
  return answer;
}

describe("an answer that was given before", () => {
  test("is given again, free and without the provider", async () => {
    const body = ask("sim-repeat-l0");
    const first = await fill(acme, body);
    assert.deepEqual([first.status, state(first)], [200, "miss"]);
    const second = await acme.chat(body);
    assert.deepEqual([second.status, state(second), second.text], [200, "hit", first.text]);
    assert.equal(second.headers["content-type"], first.headers["content-type"]);
    assert.deepEqual([second.headers["x-tollgate-cost-usd"], second.headers["x-tollgate-attempts"]], ["0", "0"]);
    assert.equal(second.headers["x-tollgate-provider"], "simulated");
    assert.equal(await seen(body), 1);
    const { spent_usd: spent } = await acme.settled();
    assert.equal(spent, first.headers["x-tollgate-cost-usd"]);
    const rows = await acme.usage();
    assert.deepEqual(rows.map((row) => [row.outcome, row.requests, row.cost_usd]), [["cached", 1, "0"], ["ok", 1, spent]]);
  });

  test("is the same answer in whatever order the fields stand", async () => {
    const body = ask("sim-order-l0", { temperature: 0.5 });
    await fill(acme, body);
    const { max_tokens, ...rest } = body;
    const answer = await acme.chat(JSON.stringify({ max_tokens, ...rest }, null, 2));
    assert.equal(state(answer), "hit");
  });

  test("is not given to a request that differs in anything", async () => {
    const body = ask("sim-differs-l0");
    await fill(acme, body);
    const others = [
      { temperature: 0 }, { seed: 1 }, { max_tokens: 99 }, { user: "x" }, { stream: true }, { model: "simulated/sim-other-l0" },
      { messages: [{ role: "user", content: "Hello " }] }, { messages: [{ role: "system", content: "Hello" }] },
    ];
    for (const more of others) assert.equal(state(await acme.chat({ ...body, ...more })), "miss", JSON.stringify(more));
    assert.equal(state(await acme.chat(body)), "hit");
  });

  test("is never given to another tenant", async () => {
    const body = ask("sim-tenants-l0");
    await fill(acme, body);
    assert.equal(state(await acme.chat(body)), "hit");
    assert.equal(state(await fill(rival, body)), "miss");
    assert.equal(await seen(body), 2);
    const keys = [...kv.entries.keys()].filter((key) => /^a1\/(acme|rival)\//.test(key));
    assert.equal(keys.length, kv.entries.size);
    assert.ok(keys.some((key) => key.startsWith("a1/rival/")));
    // Even if KV gave out the other tenant's entry under this tenant's name.
    const [mine] = keys.filter((key) => key.startsWith("a1/rival/"));
    const theirs = keys.find((key) => key.startsWith("a1/acme/"));
    const kept = kv.entries.get(mine);
    kv.entries.set(mine, kv.entries.get(theirs));
    assert.equal(state(await rival.chat(body)), "miss");
    kv.entries.set(mine, kept);
  });

  test("counts as a request, and is refused to a key that does not work or is over its limit", async () => {
    const tenant = await site.tenant("limited", { cache, limits: [{ id: "few", requests: 3, window_s: 60 }] });
    const body = ask("sim-limited-l0");
    const { id, key } = await tenant.newKey();
    await fill(tenant, body);
    assert.equal(state(await tenant.chat(body, { key })), "hit");
    await site.manage("DELETE", `/tenants/limited/keys/${id}`);
    assertFailure(await tenant.chat(body, { key }), FAILURES.key);
    assert.equal(state(await tenant.chat(body)), "hit");
    assertFailure(await tenant.chat(body), FAILURES.limit);
  });
});

describe("x-tollgate-cache", () => {
  test("skip: neither read nor stored", async () => {
    const body = ask("sim-skip-l0");
    for (let i = 0; i < 2; i += 1) assert.equal(state(await acme.chat(body, mode("skip"))), "bypass");
    await fill(acme, body);
    assert.equal(state(await acme.chat(body, mode("skip"))), "bypass");
    assert.equal(state(await acme.chat(body)), "hit");
    assert.equal(await seen(body), 4);
  });

  test("refresh: asked anew and stored", async () => {
    const body = ask("sim-refresh-l0");
    await fill(acme, body);
    const [key] = [...kv.entries].filter(([, { value }]) => value.includes("sim-refresh-l0"))[0];
    const entry = kv.entries.get(key);
    kv.entries.set(key, { ...entry, value: Buffer.from(entry.value.toString().replace("fp_simulated", "fp_renewed__")) });
    assert.match((await acme.chat(body)).text, /fp_renewed__/);
    assert.equal(state(await fill(acme, body, mode("refresh"))), "refresh");
    const after = await acme.chat(body);
    assert.deepEqual([state(after), /fp_simulated/.test(after.text)], ["hit", true]);
    assert.equal(await seen(body), 2);
  });

  test("only: from the cache or not at all", async () => {
    const body = ask("sim-only-l0");
    const { spent_usd: before } = await acme.settled();
    assertFailure(await acme.chat(body, mode("only")), FAILURES.notCached);
    const { spent_usd, held_usd } = await acme.budget();
    assert.deepEqual([await seen(body), spent_usd, held_usd], [0, before, "0"]);
    await fill(acme, body);
    assert.equal(state(await acme.chat(body, mode("only"))), "hit");
  });

  test("with a time to live of its own", async () => {
    const body = ask("sim-ttl-l0");
    const begun = Date.now();
    await fill(acme, body, { headers: { "x-tollgate-cache-ttl": "1" } });
    assert.equal(state(await acme.chat(body)), "hit");
    await until("it expires", async () => state(await acme.chat(body, mode("only"))) !== "hit", 3000);
    assert.ok(Date.now() - begun >= 1000);
    assert.equal(state(await acme.chat(body)), "miss");
  });

  test("of a tenant that has none switched on", async () => {
    const tenant = await site.tenant("without");
    const body = ask("sim-without-l0");
    for (const value of ["use", "refresh", "skip"]) assert.equal(state(await tenant.chat(body, mode(value))), "bypass");
    assertFailure(await tenant.chat(body, mode("only")), FAILURES.notCached);
    await pause(50);
    assert.ok(![...kv.entries.keys()].some((key) => key.includes("/without/")));
  });
});

test("streams are stored, and replayed as streams", async () => {
  for (const more of [{}, { stream_options: { include_usage: true } }]) {
    const body = ask("sim-replay-n30-i1", { stream: true, ...more });
    const first = await fill(acme, body);
    const second = await acme.chat(body);
    assert.deepEqual([state(first), state(second)], ["miss", "hit"]);
    // What is read from the cache costs nothing, and says so.
    assert.equal(second.text, spoken(first.text).replace(/"cost_usd":"[\d.]+"/, '"cost_usd":"0"'));
    assert.match(second.headers["content-type"], /^text\/event-stream/);
    assert.match(second.text, /data: \[DONE\]\n\n$/);
    assert.equal(second.text.includes("prompt_tokens"), "stream_options" in more);
    assert.equal(/"cost_usd":"0\.0/.test(first.text), "stream_options" in more);
  }
});

test("errors and broken answers are never stored", async () => {
  const whole = ["e400", "e429", "e500", "html", "badjson", "half", "x3"].map((fault) => ask(`sim-${fault}-once-l0`));
  const streamed = ["half", "x3", "e500", "stall"].map((fault) => ask(`sim-${fault}-streamed`, { stream: true }));
  const before = kv.entries.size;
  for (const body of [...whole, ...streamed]) {
    for (let i = 0; i < 2; i += 1) {
      const answer = await acme.chat(body, { headers: { "x-tollgate-timeout-ms": "1000" } });
      assert.equal(state(answer), "miss", body.model);
    }
    assert.equal(await seen(body), 2);
  }
  await acme.settled();
  // A client that left in the middle has seen half an answer.
  const left = ask("sim-left-n20-i40", { stream: true });
  await acme.chat(left, { leaveWhen: ({ pieces }) => pieces.length > 3 });
  await acme.settled();
  assert.equal(kv.entries.size, before);
});

describe("a stored entry that is not what was stored", () => {
  const spoil = {
    "cut short": ({ value, metadata }) => ({ value: value.subarray(0, 20), metadata }),
    "longer": ({ value, metadata }) => ({ value: Buffer.concat([value, value]), metadata }),
    "empty": ({ metadata }) => ({ value: Buffer.alloc(0), metadata }),
    "without metadata": ({ value }) => ({ value }),
    "with metadata of another form": ({ value }) => ({ value, metadata: '{"x":1}' }),
    "with metadata that is no object": ({ value }) => ({ value, metadata: '"x"' }),
    "with metadata that is no JSON": ({ value }) => ({ value, metadata: "{" }),
    "of another tenant": ({ value, metadata }) => ({ value, metadata: metadata.replace("acme", "rival") }),
    "expired": ({ value, metadata }) => ({ value, metadata: metadata.replace(/"expires_at":\d+/, '"expires_at":1') }),
  };
  for (const [name, change] of Object.entries(spoil)) {
    test(name, async () => {
      const body = ask("sim-spoilt-l0", { user: name });
      const before = new Set(kv.entries.keys());
      const first = await fill(acme, body);
      const key = [...kv.entries.keys()].find((one) => !before.has(one));
      kv.entries.set(key, change(kv.entries.get(key)));
      const answer = await acme.chat(body);
      assert.deepEqual([answer.status, state(answer), answer.text], [200, "miss", first.text]);
      assert.equal((await hit(acme, body)).text, first.text);
    });
  }
});

describe("a KV that fails is a miss", () => {
  async function served(body, fault) {
    kv.fault = fault;
    const entries = kv.entries.size;
    for (let i = 0; i < 2; i += 1) {
      const answer = await acme.chat(body);
      assert.deepEqual([answer.status, state(answer)], [200, "miss"]);
      assert.ok(answer.ms < KV_MS + SLACK_MS, `${answer.ms} ms`);
      if (fault === "hang") assert.ok(answer.ms >= KV_MS - 1, `${answer.ms} ms`);
    }
    assertFailure(await acme.chat(body, mode("only")), FAILURES.notCached);
    const streamed = await acme.chat({ ...body, stream: true });
    assert.match(streamed.text, /data: \[DONE\]\n\n$/);
    await acme.settled();
    assert.equal(kv.entries.size, entries);
  }

  for (const fault of ["error", "reset", "hang"]) {
    test(fault, async () => {
      const body = ask("sim-faults-l0", { user: fault });
      try {
        await served(body, fault);
      } finally {
        kv.fault = null;
      }
      await fill(acme, body);
      assert.equal(state(await acme.chat(body)), "hit");
    });
  }

  test("and a client that leaves while it is asked leaves nothing behind", async () => {
    const body = ask("sim-leaves-l20000");
    kv.fault = "hang";
    try {
      const reads = () => kv.asked.filter((one) => one.startsWith("GET")).length;
      const before = reads();
      const answer = await acme.chat(body, { leaveOn: until("KV is asked", () => reads() > before) });
      assert.equal(answer.error, "LEFT");
      await pause(KV_MS + SLACK_MS);
      await acme.settled();
      assert.deepEqual((await site.journal({ model: "sim-leaves-l20000" })).filter(({ ended }) => ended !== "client_gone"), []);
    } finally {
      kv.fault = null;
    }
  });

  test("nobody listens", async () => {
    await kv.stop();
    await served(ask("sim-faults-l0", { user: "nobody" }), null);
  });
});
