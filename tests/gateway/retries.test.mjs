// Further attempts: what they may cost is held first, and a slow first target may get company.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { call, events, until } from "./call.mjs";
import { ONCE, PRICE, openSite, nano, usd } from "./site.mjs";

/** Never reached by a first target's fault: breakers are other tests' business. */
const NO_BREAKER = { enabled: false };
const body = (model, more = {}) => ({ model, messages: [{ role: "user", content: "Hello" }], max_tokens: 20, ...more });
const bytes = (request) => Buffer.byteLength(JSON.stringify(request));
/** The most that one attempt costs, and what one is taken to cost that gave nothing, in nano-dollars. */
const worst = (request) => bytes(request) * PRICE.input + request.max_tokens * PRICE.output;
const lost = (request) => Math.ceil(bytes(request) / 4) * PRICE.input;
const names = (answer) => `${answer.headers["x-tollgate-provider"]}/${answer.headers["x-tollgate-model"]}`;

let site;

before(async () => {
  site = await openSite();
});

after(async () => {
  if (site) await site.close();
});

const asked = async (model) => (await site.journal({ model, limit: 1_000 })).length;
const budget = (nanos) => [{ id: "all", limit_usd: usd(nanos), period: "total" }];

/** A tenant whose model `m` goes to these of the simulated provider's models, in order. */
function tenantOf(id, models, { limit, retry = {}, ...config } = {}) {
  const targets = models.map((model) => `simulated/${model}`);
  return site.tenant(id, {
    models: { m: { targets } },
    retry: { ...ONCE, ...retry },
    breaker: NO_BREAKER,
    ...(limit === undefined ? {} : { budgets: budget(limit) }),
    ...config,
  });
}

describe("a further attempt is held beside what the one before may have cost", () => {
  const timeouts = { first_byte_ms: 250 };
  const request = body("m");
  const cases = [
    { what: "a target that does not answer in time", fault: "hang", config: { timeouts }, status: 504, code: "upstream_timeout" },
    { what: "an answer that breaks off", fault: "x3-l0", config: {}, status: 502, code: "upstream_error" },
    { what: "an answer that is none", fault: "badjson-l0", config: {}, status: 502, code: "upstream_error" },
  ];
  for (const [i, { what, fault, config, status, code }] of cases.entries()) {
    test(`${what}: without room for both, nobody else is asked`, async () => {
      const [first, second] = [`sim-tight${i}-${fault}`, `sim-tight${i}-next-l0-n5`];
      const tenant = await tenantOf(`tight-${i}`, [first, second], { limit: worst(request) + lost(request) - 1, ...config });
      const answer = await tenant.chat(request);
      assert.deepEqual([answer.status, JSON.parse(answer.text).error.code], [status, code]);
      assert.equal(answer.headers["x-tollgate-attempts"], "1");
      const left = await tenant.settled();
      assert.deepEqual([await asked(first), await asked(second)], [1, 0]);
      assert.equal(nano(left.spent_usd), lost(request));
      const { data } = await site.manage("GET", `/tenants/tight-${i}/violations`);
      assert.deepEqual(data.map((row) => [row.rule, row.count]), [["budget:all", 1]]);
    });

    test(`${what}: with room for both, the next target is`, async () => {
      const [first, second] = [`sim-room${i}-${fault}`, `sim-room${i}-next-l0-n5`];
      const tenant = await tenantOf(`room-${i}`, [first, second], { limit: worst(request) + lost(request), ...config });
      const answer = await tenant.chat(request);
      assert.deepEqual([answer.status, names(answer), answer.headers["x-tollgate-attempts"]], [200, `simulated/${second}`, "2"]);
      const left = await tenant.settled();
      const { usage } = JSON.parse(answer.text);
      const cost = lost(request) + usage.prompt_tokens * PRICE.input + usage.completion_tokens * PRICE.output;
      assert.deepEqual([nano(left.spent_usd), nano(answer.headers["x-tollgate-cost-usd"])], [cost, cost]);
    });
  }

  test("an attempt that cost nothing needs no room", async () => {
    const tenant = await tenantOf("free", ["sim-free-e500", "sim-free-next-l0"], { limit: worst(request) });
    const answer = await tenant.chat(request);
    assert.deepEqual([answer.status, names(answer)], [200, "simulated/sim-free-next-l0"]);
    await tenant.settled();
  });

  test("the same target again needs room, too", async () => {
    const tenant = await tenantOf("again", ["sim-again-x3-l0"], { limit: worst(request) + lost(request) - 1, retry: { same_target: 3, backoff_ms: 1 } });
    assert.equal((await tenant.chat(request)).status, 502);
    await tenant.settled();
    assert.equal(await asked("sim-again-x3-l0"), 1);
    await site.manage("PUT", "/tenants/again/config", {
      models: { m: { target: "simulated/sim-again-x3-l0" } },
      retry: { same_target: 3, backoff_ms: 1 },
      breaker: NO_BREAKER,
      // The first request was charged one; this one has room for two more beside its last.
      budgets: budget(worst(request) + 3 * lost(request)),
    });
    assert.equal((await tenant.chat(request)).status, 502);
    await tenant.settled();
    assert.equal(await asked("sim-again-x3-l0"), 1 + 3);
  });

  test("the caller's own cap counts all attempts", async () => {
    const [first, second] = ["sim-cap-badjson-l0", "sim-cap-next-l0"];
    const tenant = await tenantOf("cap", [first, second]);
    const within = (nanos) => tenant.chat(request, { headers: { "x-tollgate-max-cost-usd": usd(nanos) } });
    assert.equal((await within(worst(request) + lost(request) - 1)).status, 502);
    assert.equal((await within(worst(request) + lost(request))).status, 200);
    await tenant.settled();
    assert.deepEqual([await asked(first), await asked(second)], [2, 1]);
  });

  test("counting tokens costs nothing, also where it fails", async () => {
    const tenant = await site.tenant("counts", { models: { m: { target: "simulated-anthropic/sim-counts-hang" } }, timeouts, retry: ONCE, budgets: budget(1_000_000) });
    const headers = { authorization: `Bearer ${tenant.key}`, "content-type": "application/json" };
    const answer = await call(`${site.url}/v1/messages/count_tokens`, { headers, body: { model: "m", messages: request.messages } });
    assert.equal(answer.status, 504, answer.text);
    assert.equal((await tenant.settled()).spent_usd, "0");
  });

  test("what is spent and held never passes the limit, however many fail at once", async () => {
    const [first, second] = ["sim-many-hang", "sim-many-next-l1500-n20"];
    const limit = 6 * worst(request) + 3 * lost(request);
    const tenant = await tenantOf("many", [first, second], { limit, timeouts: { first_byte_ms: 2500 } });
    let over = false;
    let most = 0;
    const watch = (async () => {
      while (!over) {
        const { data } = await site.manage("GET", "/tenants/many/budgets");
        most = Math.max(most, nano(data[0].spent_usd) + nano(data[0].held_usd));
      }
    })();
    const answers = await Promise.all(Array.from({ length: 12 }, () => tenant.chat(request)));
    over = true;
    await watch;
    const of = (status) => answers.filter((answer) => answer.status === status).length;
    // Six fit, and three of them may try again.
    assert.equal(of(402), 6, answers.map((answer) => answer.status).join());
    assert.deepEqual([of(200), of(504)], [3, 3], answers.map((answer) => answer.status).join());
    assert.ok(most <= limit && most > 5 * worst(request), `${most} of ${limit}`);
    const left = await tenant.settled();
    assert.ok(nano(left.spent_usd) <= limit);
    assert.deepEqual([await asked(first), await asked(second)], [6, of(200)]);
  });
});

describe("hedging", () => {
  const hedge = (after, more = {}) => ({ hedge: { after, ...more } });

  test("a slow first target gets company; who answers first is heard, the other is let go and charged", async () => {
    const [slow, quick] = ["sim-slow-l8000", "sim-quick-l0-n5"];
    const tenant = await tenantOf("hedged", [slow, quick], { retry: hedge(150), decisions: { sample_per_mille: 1000 }, savings: { baseline: `simulated/${slow}` } });
    const request = body("m");
    const answer = await tenant.chat(request);
    assert.deepEqual([answer.status, names(answer), answer.headers["x-tollgate-attempts"]], [200, `simulated/${quick}`, "2"]);
    assert.match(answer.headers["x-tollgate-route"], /,hedged$/);
    assert.ok(answer.ms < 8_000, `${answer.ms} ms`);
    assert.equal((await site.ended(slow)).ended, "client_gone");
    const left = await tenant.settled();
    const { usage } = JSON.parse(answer.text);
    const own = usage.prompt_tokens * PRICE.input + usage.completion_tokens * PRICE.output;
    assert.deepEqual([nano(left.spent_usd), nano(answer.headers["x-tollgate-cost-usd"])], [own + lost(request), own + lost(request)]);
    const rows = await tenant.usage();
    assert.deepEqual(rows.map((row) => [row.model, row.outcome, row.status]).sort(), [[quick, "ok", 200], [slow, "aborted", 499]]);
    const providers = (await site.manage("GET", "/tenants/hedged/providers")).data;
    const first = providers.find((row) => row.target === `simulated/${slow}`);
    assert.deepEqual([first.seen.failed, first.seen.classes, first.breaker.state], [0, { aborted: 1 }, "closed"]);
    const told = await site.manage("GET", `/tenants/hedged/requests/${answer.headers["x-request-id"]}`);
    assert.deepEqual(told.attempts.map((a) => [a.target, a.outcome]), [[`simulated/${slow}`, "aborted"], [`simulated/${quick}`, "ok"]]);
    const { totals } = await site.manage("GET", "/tenants/hedged/savings");
    assert.equal(totals.by_cause.failover, `-${usd(lost(request))}`);
    const line = site.log.map((text) => (text.startsWith("{") ? JSON.parse(text) : {})).find((one) => one.request_id === answer.headers["x-request-id"]);
    assert.deepEqual([line.hedged, line.attempts, line.model], [true, 2, quick]);
  });

  test("a first target that answers in time is alone", async () => {
    const tenant = await tenantOf("alone", ["sim-alone-l0", "sim-alone-next-l0"], { retry: hedge(2_000) });
    const answer = await tenant.chat(body("m"));
    assert.deepEqual([answer.status, names(answer), answer.headers["x-tollgate-attempts"]], [200, "simulated/sim-alone-l0", "1"]);
    assert.doesNotMatch(answer.headers["x-tollgate-route"], /hedged/);
    await tenant.settled();
    assert.equal(await asked("sim-alone-next-l0"), 0);
  });

  test("the first may still win, and the second is let go", async () => {
    const [first, second] = ["sim-wins-l1000-n5", "sim-loses-l9000"];
    const tenant = await tenantOf("first", [first, second], { retry: hedge(100) });
    const request = body("m");
    const answer = await tenant.chat(request);
    assert.deepEqual([answer.status, names(answer), answer.headers["x-tollgate-attempts"]], [200, `simulated/${first}`, "2"]);
    assert.equal((await site.ended(second)).ended, "client_gone");
    const { usage } = JSON.parse(answer.text);
    const cost = lost(request) + usage.prompt_tokens * PRICE.input + usage.completion_tokens * PRICE.output;
    assert.equal(nano((await tenant.settled()).spent_usd), cost);
    assert.equal(nano(answer.headers["x-tollgate-cost-usd"]), cost);
  });

  test("a stream that has not begun gets company, and comes whole from whoever began", async () => {
    const [slow, quick] = ["sim-late-t8000-n5", "sim-soon-t20-i5-n6"];
    const tenant = await tenantOf("streams", [slow, quick], { retry: hedge(150) });
    const answer = await tenant.chat(body("m", { stream: true, stream_options: { include_usage: true } }));
    assert.deepEqual([answer.status, names(answer), answer.headers["x-tollgate-attempts"]], [200, `simulated/${quick}`, "2"]);
    const all = events(answer.text);
    assert.equal(all.at(-1), "[DONE]");
    const usage = all.findLast((event) => event.usage)?.usage;
    assert.ok(usage.completion_tokens > 0);
    assert.equal((await site.ended(slow)).ended, "client_gone");
    assert.equal((await site.ended(quick)).ended, "done");
    // The client is told all that it pays, with what the other may have cost.
    assert.equal(nano((await tenant.settled()).spent_usd), nano(usage.cost_usd));
  });

  test("a stream that began goes on when the first fails meanwhile, and the other way round", async () => {
    for (const [name, models, attempts] of [
      ["fails", ["sim-fails-half-l400", "sim-fails-next-l900-n5"], "2"],
      ["second-fails", ["sim-goeson-l900-n5", "sim-goeson-next-e500"], "2"],
    ]) {
      const tenant = await tenantOf(name, models, { retry: hedge(100) });
      const answer = await tenant.chat(body("m"));
      const winner = models.find((model) => model.includes("l900"));
      assert.deepEqual([answer.status, names(answer), answer.headers["x-tollgate-attempts"]], [200, `simulated/${winner}`, attempts], name);
      await tenant.settled();
      assert.deepEqual([await asked(models[0]), await asked(models[1])], [1, 1], name);
    }
  });

  test("when both fail the third is asked, and nobody twice", async () => {
    const models = ["sim-three-hang", "sim-three-two-hang", "sim-three-last-l0"];
    const tenant = await tenantOf("three", models, { retry: hedge(100), timeouts: { first_byte_ms: 500 } });
    const answer = await tenant.chat(body("m"));
    assert.deepEqual([answer.status, names(answer), answer.headers["x-tollgate-attempts"]], [200, `simulated/${models[2]}`, "3"]);
    await tenant.settled();
    assert.deepEqual(await Promise.all(models.map(asked)), [1, 1, 1]);
  });

  test("without room for what is let go there is no second request", async () => {
    const request = body("m");
    const models = ["sim-poor-l600", "sim-poor-next-l0"];
    const tenant = await tenantOf("poor", models, { retry: hedge(100), limit: worst(request) + lost(request) - 1 });
    const answer = await tenant.chat(request);
    assert.deepEqual([answer.status, names(answer), answer.headers["x-tollgate-attempts"]], [200, `simulated/${models[0]}`, "1"]);
    await tenant.settled();
    assert.equal(await asked(models[1]), 0);
  });

  test("second requests are a share of all", async () => {
    const models = ["sim-share-l400", "sim-share-next-l400"];
    const tenant = await tenantOf("share", models, { retry: hedge(50, { max_percent: 10 }) });
    const count = 40;
    for (let n = 0; n < count; n += 20) {
      const answers = await Promise.all(Array.from({ length: 20 }, () => tenant.chat(body("m"))));
      assert.deepEqual([...new Set(answers.map((answer) => answer.status))], [200]);
    }
    await tenant.settled();
    const second = await asked(models[1]);
    // Ten are saved up; each isolate counts for itself, and here is one.
    assert.ok(second >= 10 && second <= 10 + count / 10, `${second} of ${count}`);
  });

  test("a client that leaves ends both requests", async () => {
    const models = ["sim-both-l9000", "sim-both-next-l9000"];
    const tenant = await tenantOf("leaves", models, { retry: hedge(50) });
    const both = until("both are asked", async () => (await asked(models[0])) + (await asked(models[1])) === 2);
    await Promise.all([tenant.chat(body("m"), { leaveOn: both }), both]);
    const ended = await Promise.all(models.map((model) => site.ended(model)));
    assert.deepEqual(ended.map((entry) => entry.ended), ["client_gone", "client_gone"]);
    assert.equal(nano((await tenant.settled()).spent_usd), 2 * lost(body("m")));
  });
});
