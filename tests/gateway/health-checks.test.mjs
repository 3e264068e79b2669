// Cron asks the operator's providers whether they are well: how often, for how much, and who is told what it found.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import { call, pause, until } from "./call.mjs";
import { FAILURES, assertFailure } from "./failure.mjs";
import { SECRETS, nano, openSite } from "./site.mjs";

const PRICE = { input_usd_per_mtok: "0.5", output_usd_per_mtok: "1.5" };
/** Long enough for events that come at once, on a machine that has other things to do. */
const INTERVAL_S = 3;
/** The interval is longer by up to a tenth, and a check may begin a little later. */
const NEXT_MS = INTERVAL_S * 1_100 + 150;

/** Providers by the first part of the path. Each says what the test wants, and is counted. */
class Providers {
  /** Name → status, "hang", a whole answer, or a function that gives one for a method; others are well. */
  says = {};
  seen = [];

  async open() {
    this.server = createServer((request, response) => {
      let body = "";
      request.on("data", (part) => (body += part));
      request.on("end", () => this.#answer(request, response, body));
    });
    await new Promise((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    this.host = `127.0.0.1:${this.server.address().port}`;
  }

  #answer(request, response, body) {
    const [, name] = request.url.split("/");
    const path = request.url.slice(name.length + 1);
    this.seen.push({ name, method: request.method, path, key: request.headers.authorization, headers: request.headers, body: body && JSON.parse(body) });
    const said = this.says[name] ?? 200;
    const says = typeof said === "function" ? said(request.method) : said;
    if (says === "hang") return;
    const [status, json, headers = {}] = Array.isArray(says) ? says : [says, says === 200 ? well(request.method) : { error: { message: "no" } }];
    response.writeHead(status, { "content-type": "application/json", ...headers }).end(typeof json === "string" ? json : JSON.stringify(json));
  }

  /** The requests to one of them. */
  of(name) {
    return this.seen.filter((one) => one.name === name);
  }

  row(name, more = {}) {
    return { base_url: `http://${this.host}/${name}/v1`, api_key_env: "WELL_KEY", default_price: PRICE, ...more };
  }

  async close() {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

const message = { role: "assistant", content: "Hi" };
const completion = { id: "c", object: "chat.completion", created: 1, model: "m", choices: [{ index: 0, message, finish_reason: "stop" }] };
const usage = { prompt_tokens: 8, completion_tokens: 1, total_tokens: 9 };
const well = (method) => (method === "GET" ? { object: "list", data: [{ id: "m" }] } : { ...completion, usage });

/** A site whose providers are `rows` beside the simulated ones. */
async function open(providers, rows, env) {
  const all = { WELL_KEY: "sk-health-0123456789", TOLLGATE_HEALTH_INTERVAL_S: String(INTERVAL_S), ...env };
  return openSite({
    env: all,
    providers: (simulator) => {
      all.TOLLGATE_PLAIN_HTTP_HOSTS = [providers.host, new URL(simulator).host].join(",");
      return rows;
    },
  });
}

/** One cron event. */
async function fire(site, time = Date.now()) {
  const answer = await call(`${site.gateway.controlUrl}/scheduled?cron=*%20*%20*%20*%20*&time=${time}`, { method: "POST" });
  assert.deepEqual([answer.status, JSON.parse(answer.text).outcome], [200, "ok"]);
}

/** A cron event when the next check of every provider is due. */
async function round(site) {
  await pause(NEXT_MS);
  await fire(site);
}

const health = async (site) => {
  const { data, ...more } = await site.manage("GET", "/health");
  return { ...more, of: Object.fromEntries(data.map((one) => [one.provider, one])) };
};
const ready = async (site) => {
  const answer = await call(`${site.url}/readyz`);
  const { checks, status } = JSON.parse(answer.text);
  const found = Object.fromEntries(checks.providers.health.map(({ provider, ...one }) => [provider, one]));
  return { http: answer.status, status, found, state: checks.providers.state, text: answer.text };
};
const changes = (site, name) =>
  site.log.filter((line) => line.includes('"event":"provider_health"')).map((line) => JSON.parse(line)).filter((line) => line.provider === name);

describe("a gateway with several providers", () => {
  const providers = new Providers();
  let site;

  before(async () => {
    await providers.open();
    const rows = { steady: providers.row("steady"), other: providers.row("other"), unnamed: providers.row("unnamed", { health: "tokens" }) };
    site = await open(providers, { ...rows, shy: providers.row("shy", { health: "none" }) }, {
      TOLLGATE_HEALTH_MODELS: "simulated-bedrock/sim-small-l0-n1",
    });
  });

  after(async () => {
    await site?.close();
    await providers.close();
  });

  test("a doubled cron asks each provider once, in its own words, and tells what it found", async () => {
    const before = await health(site);
    assert.deepEqual([before.interval_s, before.budget_usd, before.spent_today_usd, before.problem], [INTERVAL_S, "0.1", "0", null]);
    assert.deepEqual([before.of.steady.state, before.of.steady.by, (await ready(site)).found.steady.state], ["not_yet_checked", "/models", "not_yet_checked"]);
    const time = Date.now();
    await Promise.all(Array.from({ length: 5 }, () => fire(site, time)));
    const asked = (await site.journal()).map((one) => `${one.method} ${one.path}`).sort();
    assert.deepEqual(asked, [
      "GET /anthropic/v1/models", "GET /azure/v1/models", "GET /gemini/v1beta/models", "GET /v1/models", "GET /v1/models", "GET /workers-ai/models",
      "POST /bedrock/model/sim-small-l0-n1/converse",
    ]);
    assert.deepEqual(providers.seen.map((one) => `${one.name} ${one.method} ${one.path}`).sort(), ["other GET /v1/models", "steady GET /v1/models"]);
    const [{ headers, key }] = providers.of("steady");
    assert.deepEqual([key, headers["x-tollgate-hops"], headers["content-type"]], ["Bearer sk-health-0123456789", "1", undefined]);

    const { of, spent_today_usd: spent } = await health(site);
    for (const name of ["steady", "other", "simulated", "simulated-responses", "simulated-azure", "simulated-anthropic", "simulated-gemini", "simulated-bedrock"]) {
      assert.deepEqual([name, of[name].state, of[name].status, of[name].failures, of[name].believed, of[name].why], [name, "ok", 200, 0, true, null]);
      assert.ok(of[name].latency_ms >= 0 && of[name].checked_at && of[name].since && of[name].next_check_at > of[name].checked_at);
    }
    // Cloudflare's address has no list of models: that says nothing of its health.
    assert.deepEqual([of["simulated-workers-ai"].state, of["simulated-workers-ai"].status, of["simulated-workers-ai"].failures], ["refused", 404, 0]);
    assert.deepEqual([of.shy.state, of.unnamed.state], ["unchecked", "unchecked"]);
    assert.match(of.shy.why, /TOLLGATE_HEALTH_MODELS/);
    assert.match(of.unnamed.why, /TOLLGATE_HEALTH_MODELS/);
    assert.equal(of["simulated-bedrock"].by, "simulated-bedrock/sim-small-l0-n1");
    // Seven tokens in and one out, as the provider said, and not the worst case.
    assert.equal(nano(spent), 7 * 500 + 1 * 1_500);
    const { http, found, text } = await ready(site);
    assert.deepEqual([http, found.steady.state, found.shy.state], [200, "ok", "unchecked"]);
    assert.ok(!text.includes("usd") && !text.includes(SECRETS.SIMULATED_API_KEY));
  });

  test("ok, down, ok: told once each, to operators, and to routing from the second failure on", async () => {
    const first = "steady/m";
    const document = {
      models: { both: { targets: [first, "simulated/sim-l0"] }, alone: { target: first } },
      decisions: { sample_per_mille: 1000 },
    };
    const tenant = await site.tenant("routed", document);
    const ask = async (model, headers) => {
      const answer = await tenant.chat({ model, messages: [{ role: "user", content: "Hello" }], max_tokens: 5 }, { headers });
      assert.equal(answer.status, 200, answer.text);
      return answer;
    };
    const went = async (model) => {
      const { headers } = await ask(model);
      return [headers["x-tollgate-provider"], /unreachable/.test(headers["x-tollgate-route"])];
    };
    assert.deepEqual(await went("both"), ["steady", false]);

    providers.says.steady = (method) => (method === "GET" ? 503 : 200);
    await round(site);
    await round(site);
    assert.deepEqual([(await health(site)).of.steady.failures, (await ready(site)).http], [2, 200]);
    // Cron tells tenants what it found the time before.
    await fire(site);
    assert.deepEqual(await went("both"), ["simulated", true]);
    assert.deepEqual(await went("alone"), ["steady", false]);
    const asked = providers.of("steady").filter((one) => one.method === "POST").length;
    const dry = JSON.parse((await ask("both", { "x-tollgate-dry-run": "true" })).text);
    assert.deepEqual([dry.order, dry.notes, dry.dropped, dry.candidates.map((c) => c.unreachable)], [["simulated/sim-l0", first], ["unreachable"], [], [true, false]]);
    assert.equal(providers.of("steady").filter((one) => one.method === "POST").length, asked);
    const down = (await site.manage("GET", "/tenants/routed/providers")).data.find((row) => row.target === first).health;
    assert.deepEqual([down.state, down.status, down.failures, down.why], ["down", 503, 2, "steady: status 503"]);

    // What was recorded explains it, and decides the same again.
    await tenant.settled();
    const { data } = await site.manage("GET", "/tenants/routed/requests");
    const record = data.find((row) => row.route.includes("unreachable"));
    const explained = await site.manage("GET", `/tenants/routed/requests/${record.id}`);
    assert.deepEqual([explained.notes, explained.order, explained.candidates[0].unreachable], [["unreachable"], ["simulated/sim-l0", first], true]);
    const replayed = await site.manage("POST", "/tenants/routed/replay", { config: document });
    assert.deepEqual([replayed.requests, replayed.moved], [data.length, 0]);

    providers.says.steady = 200;
    await round(site);
    await fire(site);
    assert.deepEqual(await went("both"), ["steady", false]);
    const told = changes(site, "steady").map((line) => [line.level, line.from, line.state, line.failures]);
    assert.deepEqual(told, [["info", null, "ok", 0], ["error", "ok", "down", 1], ["info", "down", "ok", 0]]);
  });

  test("a key that is refused is the operator's matter; an address of the tenant's own is not", async () => {
    providers.says.other = 401;
    const tenant = await site.tenant("keyed", { models: { both: { targets: ["other/m", "simulated/sim-l0"] } } });
    await round(site);
    await round(site);
    const { of } = await health(site);
    assert.deepEqual([of.other.state, of.other.status, of.other.failures], ["auth", 401, 2]);
    assert.deepEqual(changes(site, "other").map((line) => line.state), ["ok", "auth"]);
    assert.ok(site.log.some((line) => line.includes("provider_key_dead") && line.includes('"other"')));
    await fire(site);
    // A tenant's own key may work there.
    providers.says.other = 200;
    const answer = await tenant.chat({ model: "both", messages: [{ role: "user", content: "Hello" }], max_tokens: 5 });
    assert.equal(answer.headers["x-tollgate-provider"], "other");
    await site.tenant("elsewhere", { providers: { steady: { base_url: "https://llm.example.com/v1", keys: ["mine"] } } });
    const shown = (await site.manage("GET", "/tenants/elsewhere/providers")).providers;
    assert.deepEqual(shown.filter((p) => ["steady", "other"].includes(p.provider)).map((p) => [p.provider, p.health?.state ?? null]), [["other", "auth"], ["steady", null]]);
  });

  test("one that hangs is given up after five seconds, and the tenants do not wait for it", async () => {
    providers.says.steady = "hang";
    providers.says.other = [302, "", { location: `http://${providers.host}/elsewhere/v1/models` }];
    await pause(NEXT_MS);
    const time = Date.now();
    let over = false;
    const run = fire(site, time).then(() => (over = true));
    await until("the tenants were visited", async () => {
      const { last_cron: cron } = await site.manage("GET", "/fleet");
      return Date.parse(cron.scheduled_at) === time;
    }, 4_000);
    assert.equal(over, false);
    await run;
    const { of } = await health(site);
    assert.deepEqual([of.steady.state, of.steady.status, of.steady.failures], ["timeout", null, 1]);
    assert.ok(of.steady.latency_ms >= 4_900 && of.steady.latency_ms < 15_000, String(of.steady.latency_ms));
    assert.deepEqual([of.other.state, of.other.status, providers.of("elsewhere").length], ["refused", 302, 0]);
  });

  test("only operators see all of it", async () => {
    assertFailure(await site.admin("GET", "/health", undefined, { authorization: "Bearer x" }), FAILURES.operator);
    const answer = await site.admin("POST", "/health", {});
    assertFailure(answer, { ...FAILURES.method, admin: true });
    assert.equal(answer.headers.allow, "GET");
  });
});

describe("a gateway with two providers, one of which costs money", () => {
  const providers = new Providers();
  const BUDGET = 100_000;
  let site;

  before(async () => {
    await providers.open();
    // It does not tell what it used, so each check is charged at its worst case.
    providers.says.dear = [200, completion];
    const rows = { free: providers.row("free"), dear: providers.row("dear", { health: "tokens", health_model: "m" }) };
    site = await open(providers, rows, { SIMULATED_API_KEY: undefined, TOLLGATE_HEALTH_BUDGET_USD: "0.0001" });
  });

  after(async () => {
    await site?.close();
    await providers.close();
  });

  test("the day's budget is not overshot, however often cron comes, and whoever dies", async () => {
    let spent = 0;
    for (let n = 0; n < 6; n++) {
      await pause(NEXT_MS);
      await Promise.all([fire(site), fire(site), fire(site)]);
      const now = nano((await health(site)).spent_today_usd);
      assert.ok(now >= spent && now <= BUDGET, `${now} after ${spent}`);
      spent = now;
      if (n === 2) await site.killAndRestart();
    }
    const dear = providers.of("dear");
    const [{ body, path }] = dear;
    assert.deepEqual([path, body.model, body.max_tokens], ["/v1/chat/completions", "m", 1]);
    assert.equal(providers.of("free").length, 6);
    // What one can cost: as many tokens as its body has bytes, and one more.
    const worst = spent / dear.length;
    assert.ok(worst > 10_000 && dear.length === Math.floor(BUDGET / worst) && dear.length < 6, `${dear.length} at ${worst}`);
    const { of } = await health(site);
    assert.deepEqual([of.dear.state, of.free.state], ["ok", "ok"]);
    assert.match(of.dear.why, /TOLLGATE_HEALTH_BUDGET_USD/);
  });

  test("not ready only when every provider fails twice in a row", async () => {
    site.options.env.TOLLGATE_HEALTH_BUDGET_USD = "1";
    await site.killAndRestart();
    providers.says.free = 500;
    await round(site);
    await round(site);
    assert.deepEqual([(await ready(site)).http, (await health(site)).of.free.failures], [200, 2]);
    providers.says.dear = 401;
    await round(site);
    assert.equal((await ready(site)).http, 200);
    await round(site);
    const none = await ready(site);
    assert.deepEqual([none.http, none.status, none.state, none.found.free.state, none.found.dear.state], [503, "not_ready", "down", "down", "auth"]);
    providers.says.free = 429;
    await round(site);
    const again = await ready(site);
    assert.deepEqual([again.http, again.found.free.state], [200, "rate_limited"]);
  });

  test("switched off, or with a variable that is wrong, nobody is asked and nothing is held against anybody", async () => {
    providers.says.free = 500;
    await round(site);
    await round(site);
    assert.equal((await ready(site)).http, 503);
    const asked = providers.seen.length;
    site.options.env.TOLLGATE_HEALTH_INTERVAL_S = "0";
    await site.killAndRestart();
    await round(site);
    assert.deepEqual([providers.seen.length, (await ready(site)).http, (await health(site)).of.free.state], [asked, 200, "unchecked"]);
    site.options.env.TOLLGATE_HEALTH_INTERVAL_S = "soon";
    await site.killAndRestart();
    await round(site);
    const { problem, of } = await health(site);
    assert.match(problem, /^TOLLGATE_HEALTH_INTERVAL_S: /);
    assert.deepEqual([providers.seen.length, of.free.why, (await ready(site)).http], [asked, problem, 200]);
    await until("the log tells of it", async () => site.log.some((line) => line.includes("checks_misconfigured") && line.includes("INTERVAL_S")));
  });
});
