// Streams: at once, byte for byte, and ended when the client goes.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { call, events, rawEvents, spoken, until } from "./call.mjs";
import { PRICE, ask, nano, openSite } from "./site.mjs";

/** How long a client's disconnect may take to reach the provider. */
const DISCONNECT_MS = 1000;
const stream = (model, more) => ask(model, { stream: true, ...more });
const withUsage = { stream_options: { include_usage: true } };
/** The gateway's one change to what a client that asked for usage sees. */
const unbilled = (text) => text.replace(/"cost_usd":"[\d.]+",/, "");
const isUsage = (event) => /"choices":\[\],"usage":\{/.test(event);

let site;
let acme;

before(async () => {
  site = await openSite({ env: { TOLLGATE_HEARTBEAT_MS: "500" } });
  acme = await site.tenant("acme");
});

after(async () => {
  if (site) await site.close();
});

/** The same request, asked of the provider without a gateway, as the gateway asks: with usage. */
async function direct(body) {
  const answer = await call(`${site.simulator.url}/v1/chat/completions`, {
    headers: { authorization: "Bearer x" },
    body: { ...body, model: body.model.slice("simulated/".length), stream_options: { include_usage: true } },
  });
  assert.equal(answer.status, 200);
  return answer.text;
}

test("each token is here before the provider sends the next", async () => {
  const answer = await acme.chat(stream("sim-paced-t50-i250-n5"));
  const came = answer.pieces.filter(({ text }) => /"content":"[^"]/.test(text)).map(({ at }) => at);
  const { chunks_sent: sent } = await site.ended("sim-paced-t50-i250-n5");
  assert.deepEqual([came.length, sent.length], [5, 5]);
  for (let i = 0; i < 4; i += 1) assert.ok(came[i] < sent[i + 1], `token ${i + 1} was held back: ${came} ${sent}`);
});

test("comments fill a long silence, between events, and the rest is the same to the byte", async () => {
  const body = stream("sim-beat-i900-n2");
  const answer = await acme.chat(body);
  assert.match(answer.text, /\n\n: \n\ndata: /);
  assert.equal(spoken(answer.text), rawEvents(await direct(body)).filter((event) => !isUsage(event)).join(""));
});

describe("usage", () => {
  test("is asked for, and kept from a client that did not ask: the rest is the same to the byte", async () => {
    for (const more of [{}, { stream_options: null }, { stream_options: { include_usage: false } }]) {
      const body = stream("sim-strip-n60-i1", more);
      const answer = await acme.chat(body);
      const expected = rawEvents(await direct(body));
      assert.equal(expected.filter(isUsage).length, 1);
      assert.equal(spoken(answer.text), expected.filter((event) => !isUsage(event)).join(""));
      const [entry] = await site.journal({ model: "sim-strip-n60-i1", limit: 2 });
      assert.equal(entry.body.stream_options.include_usage, true);
    }
  });

  test("is handed on to a client that asked, with the cost: the rest is the same to the byte", async () => {
    const body = stream("sim-keep-n60-i1", withUsage);
    const answer = await acme.chat(body);
    assert.equal(unbilled(spoken(answer.text)), await direct(body));
    const all = events(answer.text);
    const { usage } = all.at(-2);
    assert.equal(nano(usage.cost_usd), usage.prompt_tokens * PRICE.input + usage.completion_tokens * PRICE.output);
    assert.deepEqual([all.at(-1), all.at(-2).choices, all.at(-2).usage.completion_tokens], ["[DONE]", [], 60]);
  });

  test("with tools and several choices the bytes are the same too", async () => {
    const parameters = { type: "object", properties: { city: { type: "string" }, days: { type: "integer" } }, required: ["city", "days"] };
    const tools = [{ type: "function", function: { name: "weather", parameters } }];
    for (const body of [stream("sim-tools-p3-i0", { tools, ...withUsage }), stream("sim-n20-i0", { n: 3, ...withUsage })]) {
      assert.equal(unbilled(spoken((await acme.chat(body)).text)), await direct(body));
    }
  });

  test("is what is charged, asked for or not", async () => {
    const tenant = await site.tenant("charged");
    for (const [i, more] of [{}, withUsage].entries()) {
      const body = stream(`sim-charged${i}-n30-i0`, more);
      const { usage } = events(await direct(body)).at(-2);
      const before = nano((await tenant.settled()).spent_usd);
      await tenant.chat(body);
      const spent = await until("it is settled", async () => nano((await tenant.settled()).spent_usd) - before);
      assert.equal(spent, usage.prompt_tokens * PRICE.input + usage.completion_tokens * PRICE.output);
    }
    const rows = await tenant.usage();
    assert.deepEqual(rows.map((row) => [row.outcome, row.requests, row.output_tokens]), [["ok", 1, 30], ["ok", 1, 30]]);
  });

  test("is estimated where the provider tells none", async () => {
    const tenant = await site.tenant("estimated");
    const answer = await tenant.chat(stream("sim-nousage-n20-i0", withUsage));
    assert.equal(events(answer.text).at(-1), "[DONE]");
    const { spent_usd: spent } = await until("it is settled", async () => {
      const budget = await tenant.settled();
      return budget.spent_usd !== "0" && budget;
    });
    const [row] = await tenant.usage();
    assert.equal(row.cost_usd, spent);
    assert.ok(row.output_tokens >= 20 && row.output_tokens <= 60, `${row.output_tokens}`);
  });
});

describe("a client that goes away", { concurrency: true }, () => {
  /** Asks, leaves, and checks that the provider is stopped and that the truth is settled. */
  async function left(name, body, leaving, mostOutput) {
    const tenant = await site.tenant(name);
    const model = body.model.slice("simulated/".length);
    const leaveOn = leaving.leaveWhen ? undefined : until("it is at the provider", async () => (await site.journal({ model })).length);
    const answer = await tenant.chat(body, { leaveOn, ...leaving });
    assert.equal(answer.error, "LEFT");
    const entry = await site.ended(model);
    assert.equal(entry.ended, "client_gone");
    assert.ok(entry.ended_at_ms - answer.leftAt < DISCONNECT_MS, `${entry.ended_at_ms - answer.leftAt} ms`);
    const row = await until("its counters are there", async () => (await tenant.usage())[0]);
    assert.deepEqual([row.outcome, row.status, row.requests], ["client_gone", 499, 1]);
    assert.ok(nano(row.cost_usd) > 0);
    assert.ok(row.output_tokens <= mostOutput, `${row.output_tokens} output tokens`);
    const { spent_usd: spent } = await tenant.settled();
    assert.equal(spent, row.cost_usd);
    return entry;
  }

  const afterTokens = (n) => ({ leaveWhen: ({ pieces }) => pieces.length >= n });

  for (const politely of [false, true]) {
    test(`in the middle of a stream, politely: ${politely}`, async () => {
      const model = `sim-mid${politely ? 1 : 0}-i40-n300`;
      const entry = await left(model, stream(model), { ...afterTokens(3), politely }, 60);
      assert.ok(entry.chunks_sent.length < 60, `${entry.chunks_sent.length} tokens sent`);
    });

    test(`while the stream is silent, politely: ${politely}`, () => {
      const model = `sim-stall-silent${politely ? 1 : 0}`;
      return left(model, stream(model), { ...afterTokens(1), politely }, 12);
    });
  }

  test("before the provider says anything", () => left("first", stream("sim-first-t20000"), {}, 0));

  test("between the headers and the first token", () => left("headers", stream("sim-early-t20000"), {}, 0));

  test("before a whole answer", () => left("whole", ask("sim-whole-l20000"), {}, 0));

  test("before an answer that never comes", async () => {
    const tenant = await site.tenant("never");
    const seen = async () => (await site.journal({ model: "sim-never-hang" }))[0];
    const answer = await tenant.chat(ask("sim-never-hang"), { leaveOn: until("it is at the provider", seen) });
    const { ended_at_ms: ended } = await until("the provider's connection is closed", async () => (await seen()).ended_at_ms && seen());
    assert.ok(ended - answer.leftAt < DISCONNECT_MS);
    await tenant.settled();
    assert.equal((await tenant.usage())[0].outcome, "client_gone");
  });

  test("at any moment before the provider has the request: it is not sent, or stopped", async () => {
    const tenant = await site.tenant("hasty");
    const body = ask("sim-hasty-l20000");
    const answers = await Promise.all(Array.from({ length: 30 }, (_, i) => tenant.chat(body, { leaveAfterMs: i * 3 })));
    assert.ok(answers.every(({ error }) => error === "LEFT"));
    await tenant.settled(DISCONNECT_MS + 2000);
    const entries = await site.journal({ model: "sim-hasty-l20000" });
    assert.deepEqual(entries.filter(({ ended }) => ended !== "client_gone"), []);
  });

  test("while it still sends its request", async () => {
    const tenant = await site.tenant("sending");
    const headers = { authorization: `Bearer ${tenant.key}`, "content-type": "application/json", "content-length": "100000" };
    // The promised rest of the body never comes.
    const answer = await call(`${site.url}/v1/chat/completions`, { method: "POST", headers, leaveAfterMs: 200 });
    assert.deepEqual([answer.status, answer.error], [null, "LEFT"]);
    assert.deepEqual([(await tenant.budget()).held_usd, await tenant.usage()], ["0", []]);
  });

  test("many at once", async () => {
    const tenant = await site.tenant("crowd");
    const body = stream("sim-crowd-i50-n400");
    await Promise.all(Array.from({ length: 20 }, () => tenant.chat(body, afterTokens(2))));
    await until("the provider has no open stream of theirs", async () => {
      const entries = await site.journal({ model: "sim-crowd-i50-n400" });
      return entries.length === 20 && entries.every((entry) => entry.ended === "client_gone");
    }, DISCONNECT_MS + 1000);
    await tenant.settled();
    const [row] = await tenant.usage();
    assert.deepEqual([row.outcome, row.requests], ["client_gone", 20]);
  });
});

test("a client that goes does not disturb the others", async () => {
  const [whole] = await Promise.all([
    acme.chat(stream("sim-stays-i20-n30", withUsage)),
    ...Array.from({ length: 10 }, () => acme.chat(stream("sim-goes-i20-n30"), { leaveWhen: ({ pieces }) => pieces.length > 5 })),
  ]);
  assert.equal(unbilled(spoken(whole.text)), await direct(stream("sim-stays-i20-n30")));
});

test("50 streams at once, each whole", async () => {
  const tenant = await site.tenant("fifty");
  const body = (i) => stream("sim-fifty-t20-i20-n30", { ...withUsage, messages: [{ role: "user", content: `stream ${i}` }] });
  const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => tenant.chat(body(i))));
  const expected = await Promise.all([0, 17, 49].map((i) => direct(body(i))));
  assert.deepEqual([0, 17, 49].map((i) => unbilled(spoken(answers[i].text))), expected);
  for (const answer of answers) {
    const all = events(answer.text);
    assert.deepEqual([answer.error, all.at(-1), all.at(-2).usage.completion_tokens], [null, "[DONE]", 30]);
  }
  const { spent_usd: spent } = await tenant.settled();
  const usages = answers.map((answer) => events(answer.text).at(-2).usage);
  const costs = usages.map((one) => one.prompt_tokens * PRICE.input + one.completion_tokens * PRICE.output);
  assert.equal(nano(spent), costs.reduce((sum, cost) => sum + cost, 0));
  const { open } = JSON.parse((await call(`${site.simulator.url}/stats`)).text);
  assert.equal(open, 0, "no request is left open at the provider");
});
