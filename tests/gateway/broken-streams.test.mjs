// A stream that breaks off after its first content goes on at the next target, where the tenant wants that; else
// its client is told in the stream.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { call, events, pause, rawEvents, until } from "./call.mjs";
import { ONCE, PRICE, nano, openSite, usd } from "./site.mjs";

const NO_BREAKER = { enabled: false };
const GO_ON = /^Your last message was cut off\./;
const withUsage = { stream_options: { include_usage: true } };
const body = (more = {}) => ({ model: "m", messages: [{ role: "user", content: "Hello" }], max_tokens: 60, stream: true, ...withUsage, ...more });
const bytes = (request) => Buffer.byteLength(JSON.stringify(request));
const cost = ({ prompt_tokens: input, completion_tokens: output }) => input * PRICE.input + output * PRICE.output;
const textOf = (all) => all.map((event) => event.choices?.[0]?.delta?.content ?? "").join("");
const ERRORS = { cut: "upstream_error", silent: "upstream_timeout" };

let site;

before(async () => {
  site = await openSite({ env: { TOLLGATE_HEARTBEAT_MS: "300" } });
});

after(async () => {
  if (site) await site.close();
});

const seen = (model) => site.journal({ model, limit: 100 });

/** A tenant whose model `m` goes to these targets, in order, and whose broken streams go on. */
function tenantOf(id, targets, { limit, retry = {}, ...config } = {}) {
  return site.tenant(id, {
    models: { m: { targets: targets.map((target) => (target.includes("/") ? target : `simulated/${target}`)) } },
    retry: { ...ONCE, on_broken_stream: "continue", ...retry },
    breaker: NO_BREAKER,
    decisions: { sample_per_mille: 0, failures: true },
    ...(limit === undefined ? {} : { budgets: [{ id: "all", limit_usd: usd(limit), period: "total" }] }),
    ...config,
  });
}

/** Fails unless the stream ended in the gateway's error, without an end of its own. */
function assertTold(answer, code = "upstream_error") {
  const all = events(answer.text);
  assert.equal(answer.status, 200);
  assert.equal(all.at(-1).error?.code, code, answer.text);
  assert.ok(!all.includes("[DONE]") && !answer.text.includes("tollgate"), answer.text);
  assert.notEqual(textOf(all), "");
}

/** Fails unless the stream is one whole answer of `first` and `second` (`provider/model`). Resolves to its events. */
function assertJoined(answer, first, second) {
  const all = events(answer.text);
  assert.equal(answer.error, null);
  assert.deepEqual([all.filter((event) => event === "[DONE]").length, all.at(-1)], [1, "[DONE]"], answer.text);
  const chunks = all.slice(0, -1);
  for (const field of ["id", "created", "model"]) assert.equal(new Set(chunks.map((chunk) => chunk[field])).size, 1, field);
  assert.equal(chunks.filter((chunk) => chunk.choices[0]?.delta.role).length, 1);
  assert.deepEqual(chunks.map((chunk) => chunk.choices[0]?.finish_reason ?? null).filter(Boolean), ["stop"]);
  const seams = rawEvents(answer.text).filter((event) => event.startsWith(": tollgate"));
  assert.deepEqual(seams, [`: tollgate: continued by ${second}\n\n`]);
  const told = chunks.filter((chunk) => chunk.tollgate);
  assert.ok(told.length > 0 && told.every((chunk) => chunk.choices[0]?.finish_reason || chunk.usage));
  for (const { tollgate } of told) assert.deepEqual([tollgate.continued.from, tollgate.continued.by], [first, second]);
  return chunks;
}

/** The text that the request for the rest says is there already. */
async function handedOn(model) {
  const [{ body: sent }] = await seen(model);
  assert.match(sent.messages.at(-1).content, GO_ON);
  assert.deepEqual([sent.messages.at(-1).role, sent.messages.at(-2).role], ["user", "assistant"]);
  return { sent, text: sent.messages.at(-2).content };
}

describe("the next target goes on", () => {
  for (const [name, fault, config] of [
    ["where the connection ends", "half", {}],
    ["where it is cut short", "short", {}],
    ["where it is reset", "x3", {}],
    ["where it falls silent", "stall", { timeouts: { idle_ms: 600 } }],
    ["where the provider fails it", "o3", {}],
  ]) {
    test(name, async () => {
      const [first, second] = [`sim-on${fault}-${fault}-i5-n9`, `sim-rest${fault}-n7-i5`];
      const tenant = await tenantOf(`on-${fault}`, [first, second], config);
      const request = body();
      const answer = await tenant.chat(request);
      const chunks = assertJoined(answer, `simulated/${first}`, `simulated/${second}`);
      assert.deepEqual([answer.headers["x-tollgate-model"], answer.headers["x-tollgate-attempts"]], [first, "1"]);
      const { sent, text } = await handedOn(second);
      assert.notEqual(text, "");
      assert.ok(textOf(chunks).startsWith(text) && textOf(chunks).length > text.length);
      const written = sent.messages.length === 3 && request.max_tokens - sent.max_tokens;
      assert.ok(written >= 3 && written < 12, `${written} tokens are out`);
      // The usage is that of the rest, the cost is of both.
      const { usage } = chunks.at(-1);
      assert.equal(usage.completion_tokens, 7);
      const lost = Math.ceil(bytes(request) / 4) * PRICE.input + written * PRICE.output;
      assert.equal(nano(usage.cost_usd), lost + cost(usage));
      const { spent_usd: spent } = await tenant.settled();
      assert.equal(nano(spent), nano(usage.cost_usd));
      const how = fault === "stall" ? "timeout" : "cut";
      const rows = await tenant.usage();
      assert.deepEqual(rows.map((row) => [row.model, row.outcome, row.requests]).sort(), [[first, how, 1], [second, "ok", 1]].sort());
      const told = await site.manage("GET", `/tenants/on-${fault}/requests/${answer.headers["x-request-id"]}`);
      assert.deepEqual(told.attempts.map((one) => one.target), [`simulated/${first}`, `simulated/${second}`]);
      assert.deepEqual(told.attempts.map((one) => one.outcome), [fault === "o3" ? "server" : how, "ok"]);
      const line = site.log.map((one) => (one.startsWith("{") ? JSON.parse(one) : {}))
        .find((one) => one.event === "continued" && one.request_id === answer.headers["x-request-id"]);
      assert.deepEqual([line.continued, line.from, line.by], [true, `simulated/${first}`, `simulated/${second}`]);
    });
  }

  test("without being asked for usage, the field is in the last chunk", async () => {
    const [first, second] = ["sim-quiet-x3-i5", "sim-quietrest-n4"];
    const tenant = await tenantOf("quiet", [first, second]);
    const answer = await tenant.chat(body({ stream_options: undefined }));
    const chunks = assertJoined(answer, `simulated/${first}`, `simulated/${second}`);
    assert.ok(chunks.every((chunk) => !chunk.usage));
    assert.deepEqual(chunks.filter((chunk) => chunk.tollgate), [chunks.at(-1)]);
    await tenant.settled();
  });

  test("a provider that speaks another format", async () => {
    for (const [id, targets] of [
      ["to-anthropic", ["simulated/sim-toanth-x3-i5", "simulated-anthropic/sim-anthrest-n6"]],
      ["from-anthropic", ["simulated-anthropic/sim-fromanth-x3-i5", "simulated/sim-openrest-n6"]],
      ["to-gemini", ["simulated/sim-togem-short-i5", "simulated-gemini/sim-gemrest-n6"]],
    ]) {
      const tenant = await tenantOf(id, targets);
      const answer = await tenant.chat(body({ seed: 5 }));
      const chunks = assertJoined(answer, ...targets);
      const { usage, tollgate } = chunks.at(-1);
      if (id === "to-anthropic") assert.equal(tollgate.continued.dropped, "seed");
      const { spent_usd: spent } = await tenant.settled();
      assert.equal(nano(spent), nano(usage.cost_usd), id);
      const rows = await tenant.usage();
      assert.equal(rows.length, 2);
      // Anthropic's streams say at their beginning that a token was written, and the rest at their end.
      const out = textOf(chunks.slice(0, 4)).length;
      assert.ok(out > 8 && rows.find((row) => row.outcome === "cut").output_tokens >= 3, `${id}: ${JSON.stringify(rows)}`);
    }
  });

  test("a client of Messages", async () => {
    const targets = ["simulated-anthropic/sim-msg-x3-i5", "simulated/sim-msgrest-n6"];
    for (const [i, order] of [targets, ["simulated-anthropic/sim-msgb-short-i5", "simulated-anthropic/sim-msgbrest-n6"]].entries()) {
      const tenant = await tenantOf(`messages-${i}`, order);
      const headers = { "x-api-key": tenant.key, "content-type": "application/json", "anthropic-version": "2023-06-01" };
      const request = { model: "m", max_tokens: 60, stream: true, messages: [{ role: "user", content: "Hello" }] };
      const answer = await call(`${site.url}/v1/messages`, { headers, body: request });
      const all = rawEvents(answer.text).filter((event) => event.startsWith("event: ")).map((event) => JSON.parse(event.split("\ndata: ")[1]));
      const kinds = all.map((event) => event.type).filter((type) => !["content_block_delta", "ping"].includes(type));
      assert.deepEqual(kinds, ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"], answer.text);
      const [from, by] = order;
      assert.deepEqual(all.find((event) => event.type === "message_delta").tollgate, { continued: { from, by } });
      const text = all.map((event) => event.delta?.text ?? "").join("");
      const { text: before } = await handedOn(by.split("/")[1]);
      assert.ok(text.startsWith(before) && text.length > before.length);
      assert.equal(nano((await tenant.settled()).spent_usd), (await tenant.usage()).reduce((sum, row) => sum + nano(row.cost_usd), 0));
    }
  });

  test("one that fails before it says anything is passed over", async () => {
    const models = ["sim-third-x3-i5", "sim-thirdmid-e500", "sim-thirdrest-n6"];
    const tenant = await tenantOf("third", models);
    const answer = await tenant.chat(body());
    assertJoined(answer, `simulated/${models[0]}`, `simulated/${models[2]}`);
    await tenant.settled();
    const rows = await tenant.usage();
    assert.deepEqual(rows.map((row) => row.outcome).sort(), ["cut", "error", "ok"]);
  });

  test("while nobody says anything the client is sent comments; if it leaves, all ends and is settled", async () => {
    const [first, second] = ["sim-wait-x3-i5", "sim-waitrest-t1000-n5"];
    const tenant = await tenantOf("waits", [first, second]);
    const answer = await tenant.chat(body());
    assertJoined(answer, `simulated/${first}`, `simulated/${second}`);
    assert.ok(rawEvents(answer.text).filter((event) => event === ": \n\n").length >= 2, answer.text);
    await tenant.settled();

    const [third, fourth] = ["sim-gone-x3-i5", "sim-gonerest-t20000-n5"];
    const other = await tenantOf("gone", [third, fourth]);
    const left = await other.chat(body(), { leaveOn: until("the rest is asked for", async () => (await seen(fourth)).length) });
    assert.equal(left.error, "LEFT");
    assert.equal((await site.ended(fourth)).ended, "client_gone");
    await other.settled();
    assert.deepEqual((await other.usage()).map((row) => row.outcome).sort(), ["client_gone", "cut"]);

    const [fifth, sixth] = ["sim-late-x3-i5", "sim-laterest-i50-n300"];
    const last = await tenantOf("late", [fifth, sixth]);
    const leaveWhen = ({ text, pieces }) => text !== undefined && pieces.some((piece) => piece.text.includes(": tollgate")) && pieces.length > 8;
    assert.equal((await last.chat(body({ max_tokens: 400 }), { leaveWhen })).error, "LEFT");
    assert.equal((await site.ended(sixth)).ended, "client_gone");
    await last.settled();
    assert.deepEqual((await last.usage()).map((row) => row.outcome).sort(), ["client_gone", "cut"]);
  });

  test("the breaker of the first hears of it while the second still writes", async () => {
    const [first, second] = ["sim-heard-x3-i5", "sim-heardrest-i100-n30"];
    const tenant = await tenantOf("heard", [first, second], { breaker: { consecutive_failures: 1 } });
    const answer = tenant.chat(body());
    await until("the rest is asked for", async () => (await seen(second)).length);
    await until("the breaker is open", async () => {
      const { data } = await site.manage("GET", "/tenants/heard/providers");
      return data.find((row) => row.target === `simulated/${first}`)?.breaker.state === "open";
    }, 1500);
    assertJoined(await answer, `simulated/${first}`, `simulated/${second}`);
    await tenant.settled();
  });

  test("its answer is neither stored nor repeated", async () => {
    const [first, second] = ["sim-kept-x3-i5", "sim-keptrest-n5"];
    const tenant = await tenantOf("kept", [first, second], { cache: { enabled: true, ttl_s: 300 } });
    const headers = { "idempotency-key": "one" };
    assertJoined(await tenant.chat(body(), { headers }), `simulated/${first}`, `simulated/${second}`);
    await tenant.settled();
    await pause(300);
    const again = await tenant.chat(body(), { headers: { ...headers, "x-tollgate-cache": "skip" } });
    assert.deepEqual([again.status, JSON.parse(again.text).error.code], [409, "idempotency_key_conflict"]);
    const other = await tenant.chat(body());
    assert.equal(other.headers["x-tollgate-cache"], "miss");
    assertJoined(other, `simulated/${first}`, `simulated/${second}`);
    assert.equal((await seen(first)).length, 2);
    await tenant.settled();
  });

  test("savings compare it with one answer", async () => {
    const [first, second] = ["sim-saved-x3-i5", "sim-savedrest-n5"];
    const tenant = await tenantOf("saved", [first, second], { savings: { baseline: "simulated/sim-base" } });
    const { usage } = assertJoined(await tenant.chat(body()), `simulated/${first}`, `simulated/${second}`).at(-1);
    await tenant.settled();
    const [cut] = (await tenant.usage()).filter((row) => row.outcome === "cut");
    const { totals } = await site.manage("GET", "/tenants/saved/savings");
    const whole = cut.input_tokens * PRICE.input + (cut.output_tokens + 5) * PRICE.output;
    assert.deepEqual([nano(totals.actual_usd), nano(totals.counterfactual_usd)], [nano(usage.cost_usd), whole]);
  });
});

describe("what is held", () => {
  const most = (request) => bytes(request) * PRICE.input + request.max_tokens * PRICE.output;
  /** What the request for the rest takes, beside its worst case as it came: the part that broke off, and more input. */
  async function more(model, tenant) {
    const { sent } = await handedOn(model);
    const turns = `,${JSON.stringify(sent.messages.at(-2))},${JSON.stringify(sent.messages.at(-1))}`;
    const [cut] = (await tenant.usage()).filter((row) => row.outcome === "cut");
    return { beside: nano(cut.cost_usd) + Buffer.byteLength(turns) * PRICE.input, written: cut.output_tokens };
  }

  test("without room for both parts nobody goes on", async () => {
    const request = body();
    const [first, second] = ["sim-held-x3-i5", "sim-heldrest-n5"];
    const roomy = await tenantOf("roomy", [first, second]);
    assertJoined(await roomy.chat(request), `simulated/${first}`, `simulated/${second}`);
    await roomy.settled();
    const { beside, written } = await more(second, roomy);
    const need = most(request) + beside;
    for (const [id, limit, goes] of [["just", need, true], ["short", need - 1, false]]) {
      const tenant = await tenantOf(`held-${id}`, [first, second], { limit });
      const answer = await tenant.chat(request);
      if (goes) assertJoined(answer, `simulated/${first}`, `simulated/${second}`);
      else assertTold(answer);
      const { spent_usd: spent } = await tenant.settled();
      assert.ok(nano(spent) <= limit);
      assert.equal(nano(spent), (await tenant.usage()).reduce((sum, row) => sum + nano(row.cost_usd), 0));
      const { data } = await site.manage("GET", `/tenants/held-${id}/violations`);
      assert.deepEqual(data.map((row) => [row.rule, row.count]), goes ? [] : [["budget:all", 1]]);
      // The caller's own cap: what is out is no longer to be written.
      const capped = await roomy.chat(request, { headers: { "x-tollgate-max-cost-usd": usd(limit - written * PRICE.output) } });
      if (goes) assertJoined(capped, `simulated/${first}`, `simulated/${second}`);
      else assertTold(capped);
    }
    await roomy.settled();
  });

  test("what is spent and held never passes the limit, however many break off at once", async () => {
    const models = ["sim-crowd-x3-i5", "sim-crowdrest-i30-n20"];
    const request = body({ max_tokens: 400 });
    // Seven fit, and room for a few that go on.
    const limit = 7 * most(request) + 500_000;
    const tenant = await tenantOf("crowd", models, { limit });
    let over = false;
    let highest = 0;
    const watch = (async () => {
      while (!over) {
        const { data } = await site.manage("GET", "/tenants/crowd/budgets");
        highest = Math.max(highest, nano(data[0].spent_usd) + nano(data[0].held_usd));
      }
    })();
    const answers = await Promise.all(Array.from({ length: 10 }, () => tenant.chat(request)));
    over = true;
    await watch;
    const passed = answers.filter(({ status }) => status === 200);
    const joined = passed.filter(({ text }) => text.endsWith("data: [DONE]\n\n"));
    assert.equal(passed.length, 7, answers.map(({ status }) => status).join());
    assert.ok(joined.length > 0 && joined.length < passed.length, `${joined.length} went on`);
    passed.filter((answer) => !joined.includes(answer)).forEach((answer) => assertTold(answer));
    assert.ok(highest <= limit, `${highest} of ${limit}`);
    const { spent_usd: spent } = await tenant.settled();
    const rows = await tenant.usage();
    assert.equal(nano(spent), rows.reduce((sum, row) => sum + nano(row.cost_usd), 0));
    assert.equal(rows.find((row) => row.outcome === "ok").requests, joined.length);
  });
});

describe("the client is told of the break", () => {
  for (const [id, models, more, config] of [
    ["default", ["x3", "n5"], {}, { retry: { on_broken_stream: "error" } }],
    ["tools", ["x3", "n5"], { tools: [{ type: "function", function: { name: "f", parameters: { type: "object" } } }], tool_choice: "none" }, {}],
    ["format", ["x3", "n5"], { response_format: { type: "json_object" } }, {}],
    ["choices", ["x3", "n5"], { n: 2 }, {}],
    ["alone", ["x3"], {}, {}],
    ["attempts", ["x3", "n5"], {}, { retry: { max_attempts: 1 } }],
    ["refused", ["x3", "e400"], {}, {}],
  ]) {
    test(id, async () => {
      const names = models.map((fault, at) => `sim-told${id}${at}-${fault}-i5`);
      const tenant = await tenantOf(`told-${id}`, names, config);
      assertTold(await tenant.chat(body(more)));
      await tenant.settled();
      assert.equal((await seen(names[0])).length, 1);
      if (names[1]) assert.equal((await seen(names[1])).length, id === "refused" ? 1 : 0);
    });
  }

  test("when the rest breaks off, too: once and no more", async () => {
    const models = ["sim-twice-x3-i5", "sim-twiceb-x3-i5", "sim-twicec-n5"];
    const tenant = await tenantOf("twice", models);
    const answer = await tenant.chat(body());
    const all = events(answer.text);
    assert.equal(all.at(-1).error?.code, ERRORS.cut, answer.text);
    assert.match(answer.text, /: tollgate: continued by simulated\/sim-twiceb/);
    assert.ok(!all.includes("[DONE]"));
    await tenant.settled();
    assert.deepEqual(await Promise.all(models.map(async (model) => (await seen(model)).length)), [1, 1, 0]);
    const rows = await tenant.usage();
    assert.deepEqual(rows.map((row) => [row.outcome, row.requests]), [["cut", 1], ["cut", 1]]);
    assert.equal(nano((await tenant.settled()).spent_usd), rows.reduce((sum, row) => sum + nano(row.cost_usd), 0));
  });

  test("in the provider's own words, if those were held back for nothing", async () => {
    const tenant = await tenantOf("own-words", ["sim-ownwords-o3-i5", "sim-ownwordsb-e400"]);
    const { text } = await tenant.chat(body());
    const errors = events(text).filter((event) => event.error);
    assert.ok(errors.length >= 1 && errors[0].error.type === "server_error", text);
    await tenant.settled();
  });

  test("in time, when the rest is silent", async () => {
    const models = ["sim-slow-x3-i5", "sim-slowb-stall-i5"];
    const tenant = await tenantOf("slow", models, { timeouts: { idle_ms: 600 } });
    const answer = await tenant.chat(body());
    assert.equal(events(answer.text).at(-1).error?.code, ERRORS.silent);
    assert.ok(answer.ms < 8_000, `${answer.ms} ms`);
    await tenant.settled();
  });

  test("of Responses, whose streams do not go on", async () => {
    const tenant = await tenantOf("responses", ["sim-resp-x3-i5", "sim-resprest-n5"]);
    const headers = { authorization: `Bearer ${tenant.key}`, "content-type": "application/json" };
    const { text } = await call(`${site.url}/v1/responses`, { headers, body: { model: "m", input: "Hello", stream: true } });
    assert.match(text, /event: error/);
    await tenant.settled();
    assert.equal((await seen("sim-resprest-n5")).length, 0);
  });
});

test("a document with another word is refused with its path", async () => {
  const answer = await site.admin("PUT", "/tenants/worded", { config: { retry: { on_broken_stream: "resume" } } });
  assert.deepEqual([answer.status, answer.json.error.param], [400, "retry.on_broken_stream"], answer.text);
  assert.match(answer.json.error.message, /`error` or `continue`/);
});

test("a stream that does not break is the same to the byte, with and without", async () => {
  const unbilled = (text) => text.replace(/"cost_usd":"[\d.]+",/, "").split(/(?<=\n\n)/).filter((event) => !event.startsWith(":")).join("");
  const texts = [];
  for (const on of ["error", "continue"]) {
    const tenant = await tenantOf(`same-${on}`, ["sim-same-n60-i1", "sim-samerest"], { retry: { on_broken_stream: on } });
    texts.push(unbilled((await tenant.chat(body({ max_tokens: 100 }))).text));
    await tenant.settled();
  }
  assert.equal(texts[0], texts[1]);
});
