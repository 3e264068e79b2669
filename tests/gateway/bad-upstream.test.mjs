// What a provider can do wrong. Each case has a tenant of its own, so all run at once: one provider's
// fault must not reach another's requests.
import assert from "node:assert/strict";
import net from "node:net";
import { after, before, describe, test } from "node:test";
import { call, events, until } from "./call.mjs";
import { FAILURES, assertError, assertFailure, assertNoSecret } from "./failure.mjs";
import { ONCE, SECRETS, ask, nano, openSite } from "./site.mjs";

const IDLE_MS = 500;
/** Room for a busy machine between a time limit and the answer that it causes. */
const SLACK_MS = 1500;
const streamed = { stream: true };
const hurry = (ms) => ({ headers: { "x-tollgate-timeout-ms": String(ms) } });

let site;
let rival;

before(async () => {
  const closed = await closedPort();
  const SIMULATED_API_KEY = "SIMULATED_API_KEY";
  const default_price = { input_usd_per_mtok: "0.50", output_usd_per_mtok: "1.50" };
  site = await openSite({
    env: { TOLLGATE_PLAIN_HTTP_HOSTS: undefined },
    providers: (url) => ({
      closed: { base_url: `http://127.0.0.1:${closed}/v1`, api_key_env: SIMULATED_API_KEY, default_price },
      unlisted: { base_url: `${url.replace("127.0.0.1", "localhost")}/v1`, api_key_env: SIMULATED_API_KEY, default_price },
      keyless: { base_url: `${url}/v1`, api_key_env: "NO_SUCH_KEY", default_price },
    }),
  });
  const hosts = [new URL(site.simulator.url).host, `127.0.0.1:${closed}`];
  await site.gateway.stop();
  site.options.env.TOLLGATE_PLAIN_HTTP_HOSTS = hosts.join(", ");
  await site.start();
  rival = await site.tenant("rival");
});

after(async () => {
  if (!site) return;
  try {
    for (const line of site.log) {
      assertNoSecret(line, [rival.key]);
      assert.doesNotMatch(line, /panick|RuntimeError|object_failed|Uncaught/);
    }
  } finally {
    await site.close();
  }
});

async function closedPort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

let tenants = 0;

/**
 * Asks once and checks with `check` what came. Afterwards nothing is held, the counters have each attempt
 * with `outcome` and all that was spent, and the same worker serves others. `charged` null: either is right.
 */
async function ill(body, { outcome, charged = false, attempts = 1, config = {}, ...options }, check) {
  tenants += 1;
  const timeouts = { first_byte_ms: 20_000, idle_ms: IDLE_MS, total_ms: 20_000 };
  const tenant = await site.tenant(`t${tenants}`, { timeouts, retry: ONCE, ...config });
  const answer = await tenant.chat(body, options);
  assertNoSecret(JSON.stringify(answer.headers), [tenant.key, rival.key, "rival"]);
  if (answer.text.length < 100_000) assertNoSecret(answer.text, [tenant.key, rival.key, "rival"]);
  await check(answer);
  assert.equal((await rival.chat(ask("sim-small-l0"))).status, 200);
  const { spent_usd: spent } = await tenant.settled();
  if (charged !== null) assert.equal(nano(spent) > 0, charged, `spent: ${spent}`);
  const rows = await tenant.usage();
  assert.deepEqual(rows.map((row) => [row.outcome, row.requests]), Array(attempts).fill([outcome, 1]));
  assert.equal(rows.reduce((sum, row) => sum + nano(row.cost_usd), 0), nano(spent));
  assert.equal((await tenant.chat(ask("sim-small-l0"))).status, 200);
}

const told = (...attempts) => (answer) => {
  const error = assertFailure(answer, FAILURES.upstream);
  assert.deepEqual(error.attempts, attempts.map((one) => `simulated: ${one}`));
};
const tooSlow = (ms) => (answer) => {
  assertFailure(answer, FAILURES.timeout);
  assert.ok(answer.ms >= ms && answer.ms < ms + SLACK_MS, `${answer.ms} ms`);
};

describe("no usable answer", { concurrency: true }, () => {
  const UNUSABLE = "not an answer of the OpenAI format";
  const cases = {
    "sim-reset": { outcome: "error", why: "connection failed" },
    "sim-e401": { outcome: "error", why: "status 401" },
    "sim-e403": { outcome: "error", why: "status 403" },
    "sim-e500": { outcome: "error", why: "status 500" },
    "sim-e503": { outcome: "error", why: "status 503" },
    "sim-html": { outcome: "error", why: UNUSABLE, charged: true },
    "sim-redirect": { outcome: "error", why: "status 302" },
  };
  for (const [model, { why, ...expected }] of Object.entries(cases)) {
    for (const more of [{}, streamed]) {
      test(`${model} ${JSON.stringify(more)}`, () => ill(ask(model, more), expected, told(why)));
    }
  }

  test("a redirect is not followed", async () => {
    await ill(ask("sim-redirect-l1"), { outcome: "error" }, told("status 302"));
    const paths = (await site.journal()).map(({ path }) => path);
    assert.deepEqual([...new Set(paths)], ["/v1/chat/completions"]);
  });

  test("half of a whole answer", () => ill(ask("sim-half"), { outcome: "error", charged: true }, told(UNUSABLE)));

  test("a whole answer that is cut", () => ill(ask("sim-x3"), { outcome: "cut", charged: true }, told("the answer broke off")));

  test("a stream that breaks off before its first token", () =>
    ill(ask("sim-x0", streamed), { outcome: "cut", charged: true }, told("the stream broke off before it began")));

  test("broken JSON", () => ill(ask("sim-badjson"), { outcome: "error", charged: true }, told(UNUSABLE)));

  test("50 MB from 48 KB of gzip", () => ill(ask("sim-bomb"), { outcome: "error", charged: true }, (answer) => {
    told("answer too large")(answer);
    assert.ok(answer.ms < 10_000, `${answer.ms} ms`);
  }));

  for (const more of [{}, streamed]) {
    test(`its rate limit ${JSON.stringify(more)}`, () => ill(ask("sim-e429", more), { outcome: "error" }, (answer) => {
      assertFailure(answer, { ...FAILURES.upstream, retry: true });
      assert.equal(answer.headers["retry-after"], "1");
    }));
  }

  for (const [status, code] of [[400, "upstream_refused"], [404, "model_not_found"]]) {
    test(`it refuses the request with ${status}`, () => ill(ask(`sim-e${status}`), { outcome: "error" }, (answer) => {
      assertFailure(answer, { status, code, type: "invalid_request_error" });
    }));
  }

  test("it says which field is wrong", () => ill(ask("sim-small", { temperature: 9 }), { outcome: "error" }, (answer) => {
    assertFailure(answer, { status: 400, type: "invalid_request_error", code: "decimal_out_of_range", param: "temperature" });
  }));

  for (const [model, more] of [["closed/x", {}], ["closed/x", streamed]]) {
    test(`nobody listens ${JSON.stringify(more)}`, () => ill(ask("", { model, ...more }), { outcome: "error" }, (answer) => {
      assert.deepEqual(assertFailure(answer, FAILURES.upstream).attempts, ["closed: connection failed"]);
    }));
  }

  test("it may not be called, or has no key", async () => {
    for (const [model, why] of [["unlisted/x", /TOLLGATE_PLAIN_HTTP_HOSTS/], ["keyless/x", /no API key/]]) {
      await ill(ask("", { model }), { outcome: "error" }, (answer) => {
        assert.match(assertFailure(answer, FAILURES.upstream).attempts.join(), why);
      });
    }
    assert.equal((await site.journal({ model: "x" })).length, 0);
  });

  test("each target of an alias is asked, and the failures are told in order", () => {
    const models = { both: { targets: ["simulated/sim-e500-a", "closed/x"] } };
    return ill(ask("", { model: "both" }), { outcome: "error", attempts: 2, config: { models } }, (answer) => {
      const { attempts } = assertFailure(answer, FAILURES.upstream);
      assert.deepEqual(attempts, ["simulated: status 500", "closed: connection failed"]);
      assert.equal(answer.headers["x-tollgate-attempts"], "2");
    });
  });

  test("an attempt that failed is repeated once unless told otherwise", async () => {
    for (const [model, outcome, why] of [["sim-e500-c", "error", "status 500"], ["sim-x3-c", "cut", "the answer broke off"]]) {
      const tenant = await site.tenant(`again-${outcome}`);
      const answer = await tenant.chat(ask(model));
      told(why, why)(answer);
      assert.equal(answer.headers["x-tollgate-attempts"], "2");
      await tenant.settled();
      assert.deepEqual((await tenant.usage()).map((row) => [row.outcome, row.requests]), [[outcome, 2]]);
      assert.equal((await site.journal({ model })).length, 2);
    }
  });

  test("the second target answers where the first does not", async () => {
    const models = { both: { targets: ["closed/x", "simulated/sim-small-l0"] } };
    const tenant = await site.tenant("lucky", { models });
    const answer = await tenant.chat(ask("", { model: "both" }));
    const { "x-tollgate-provider": provider, "x-tollgate-attempts": attempts } = answer.headers;
    // The first is asked twice.
    assert.deepEqual([answer.status, provider, attempts], [200, "simulated", "3"]);
    const { spent_usd: spent } = await tenant.settled();
    assert.equal(spent, answer.headers["x-tollgate-cost-usd"]);
  });
});

describe("too slow", { concurrency: true }, () => {
  const whole = ["sim-hang-a", "sim-l9000", "sim-stall-a"].map((model) => [model, {}]);
  const streams = ["sim-hang-b", "sim-t9000"].map((model) => [model, streamed]);
  for (const [model, more] of [...whole, ...streams]) {
    test(`${model} ${JSON.stringify(more)}, by the caller's limit`, async () => {
      await ill(ask(model, more), { outcome: "timeout", charged: true, ...hurry(400) }, tooSlow(400));
      const entry = await site.ended(model);
      assert.ok(entry.ended_at_ms - entry.at_ms < 400 + SLACK_MS, "the provider's connection is closed");
    });
  }

  test("by the tenant's limit for the first byte", () => ill(
    ask("sim-hang-c"),
    { outcome: "timeout", charged: true, config: { timeouts: { first_byte_ms: 300 } } },
    tooSlow(300),
  ));

  test("by the tenant's limit for the whole, which a caller cannot raise", () => ill(
    ask("sim-hang-d"),
    { outcome: "timeout", charged: true, config: { timeouts: { total_ms: 300 } }, ...hurry(60_000) },
    tooSlow(300),
  ));
});

describe("after the first byte the error comes in the stream, and no [DONE]", { concurrency: true }, () => {
  const { upstream, timeout } = FAILURES;
  const cases = [
    ["sim-half-a", "cut", upstream],
    ["sim-x3-a", "cut", upstream],
    ["sim-stall-b", "timeout", timeout],
    ["sim-i100-n400", "timeout", timeout, hurry(1500)],
  ];
  for (const [model, outcome, failure, options] of cases) {
    for (const usage of [undefined, { include_usage: true }]) {
      const name = `${model} ${usage ? "with usage" : ""}`;
      test(name, () => ill(ask(model, { ...streamed, stream_options: usage }), { outcome, charged: true, ...options }, (answer) => {
        assert.deepEqual([answer.status, answer.error], [200, null]);
        assert.match(answer.headers["content-type"], /^text\/event-stream/);
        const all = events(answer.text);
        const last = all.pop();
        assert.deepEqual(Object.keys(last), ["error"]);
        assertError(last.error, failure);
        assert.ok(all.every((event) => event !== "[DONE]" && !event.error));
        const tokens = all.filter((event) => event.choices[0]?.delta.content).length;
        assert.ok(tokens >= 3, `${tokens} tokens`);
      }));
    }
  }

  test("a pause in the stream that is within the limit is none", async () => {
    const tenant = await site.tenant("patient", { timeouts: { idle_ms: 1000 } });
    const answer = await tenant.chat(ask("sim-i400-n3", streamed));
    assert.equal(events(answer.text).at(-1), "[DONE]");
  });

  test("an event of broken JSON goes through as it came", async () => {
    const tenant = await site.tenant("broken");
    const body = ask("sim-badjson", { ...streamed, stream_options: { include_usage: true } });
    const answer = await tenant.chat(body);
    const direct = await call(`${site.simulator.url}/v1/chat/completions`, {
      headers: { authorization: "Bearer x" }, body: { ...body, model: "sim-badjson" },
    });
    assert.equal(answer.text.replace(/"cost_usd":"[\d.]+",/, ""), direct.text);
    const { spent_usd: spent } = await until("it is settled", async () => {
      const budget = await tenant.settled();
      return budget.spent_usd !== "0" && budget;
    });
    const [row] = await tenant.usage();
    assert.deepEqual([row.outcome, row.cost_usd], ["ok", spent]);
  });
});

test("a stream of 50 MB in one event goes through, and the worker lives", async () => {
  const tenant = await site.tenant("bombed");
  const answer = await tenant.chat(ask("sim-bomb", streamed));
  assert.deepEqual([answer.status, answer.error], [200, null]);
  assert.ok(answer.text.length > 50_000_000 && answer.text.endsWith("data: [DONE]\n\n"));
  assert.equal((await rival.chat(ask("sim-small-l0"))).status, 200);
  await tenant.settled();
});

test("the provider sees its own key and none of ours", async () => {
  const entries = await site.journal();
  assert.ok(entries.length > 30);
  for (const { headers, body } of entries) {
    if (headers.authorization === "Bearer x") continue;
    const seen = new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
    assert.equal(seen.get("authorization"), `Bearer ${SECRETS.SIMULATED_API_KEY}`);
    const names = [...seen.keys()].filter((name) => /x-|cookie|forwarded|cf-/.test(name));
    assert.deepEqual(names, ["x-tollgate-hops"]);
    assert.equal(seen.get("x-tollgate-hops"), "1");
    assert.ok(!/tg_|operator-|pepper-/.test(JSON.stringify([headers, body])));
  }
});
