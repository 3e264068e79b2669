// The operator's own prices: changed while the gateway runs, for all tenants.
import assert from "node:assert/strict";
import { appendFile, cp, mkdtemp, readFile, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { ROOT } from "../../scripts/lib/stack.mjs";
import { call } from "./call.mjs";
import { FAILURES, assertFailure } from "./failure.mjs";
import { PRICE, ask, nano, openSite, usd } from "./site.mjs";

const MODEL = "simulated/sim-priced-l0-n20";
const price = (input, output, more = {}) => ({ input_usd_per_mtok: input, output_usd_per_mtok: output, ...more });

let dir;
let site;
let tenant;

/** Runs inside the gateway, as text: `/__fault?lost` loses what tenants' objects are told of prices. */
function fault(entry) {
  const { fetch, scheduled } = entry;
  let mode = "";
  let known;
  const around = (env) =>
    (known ??= {
      ...env,
      TENANTS: {
        idFromName: (name) => env.TENANTS.idFromName(name),
        get: (id) => {
          const stub = env.TENANTS.get(id);
          return {
            turn: async (text) => {
              if (mode === "lost" && text.includes('"command":{"prices"')) throw new Error("network connection lost");
              return stub.turn(text);
            },
          };
        },
      },
    });
  entry.scheduled = (event, env, ctx) => scheduled.call(entry, event, around(env), ctx);
  entry.fetch = (request, env, ctx) => {
    const url = new URL(request.url);
    if (url.pathname !== "/__fault") return fetch.call(entry, request, around(env), ctx);
    mode = url.search.slice(1);
    return new Response(mode);
  };
}

before(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), "tollgate-prices-"));
  await cp(path.join(ROOT, "build"), dir, { recursive: true });
  const source = await readFile(path.join(dir, "index.js"), "utf8");
  const name = /export\s*\{[^{}]*?(\w+)\s+as\s+default[^{}]*\}/.exec(source)?.[1];
  assert.ok(name, "the bundle ends in a new form: this test must follow");
  await appendFile(path.join(dir, "index.js"), `\n;(${fault})(${name});\n`);
  site = await openSite({ gateway: { bundleDir: dir } });
  tenant = await site.tenant("priced", { decisions: { sample_per_mille: 1000 } });
});

after(async () => {
  if (site) await site.close();
  await rm(dir, { recursive: true, force: true });
});

const put = (prices, headers) => site.admin("PUT", "/prices", { prices }, headers);
const current = () => site.admin("GET", "/prices");
/** What a request costs at these prices, in nano-dollars for a token. */
const cost = (answer, { input, output }) => {
  const { usage } = JSON.parse(answer.text);
  return usd(usage.prompt_tokens * input + usage.completion_tokens * output);
};
async function charged(who, model = MODEL) {
  const answer = await who.chat({ ...ask(""), model });
  assert.equal(answer.status, 200, answer.text);
  return answer;
}
/** The price that a target was charged by last. */
async function lastPrice(who, target = MODEL) {
  await who.settled();
  const { data } = await site.manage("GET", `/tenants/${who.id}/providers`);
  return data.find((row) => row.target === target).seen.price;
}

test("before the operator says anything there is nothing", async () => {
  const answer = await current();
  assert.deepEqual([answer.status, answer.headers.etag, answer.json], [200, '"0"', { object: "prices", version: 0, updated_at: null, prices: {} }]);
  const first = await charged(tenant);
  assert.equal(first.headers["x-tollgate-cost-usd"], cost(first, PRICE));
  assert.equal((await site.manage("GET", `/tenants/${tenant.id}`)).operator_prices, null);
});

test("a document that is wrong changes nothing", async () => {
  const wrong = async (body, param) => assertFailure(await site.admin("PUT", "/prices", body), { ...FAILURES.field(param), admin: true });
  await wrong([], null);
  await wrong({}, null);
  await wrong({ prices: {}, more: 1 }, "more");
  await wrong({ prices: { "sim-small": price("1", "2") } }, "prices.sim-small");
  await wrong({ prices: { "simulatd/sim-small": price("1", "2") } }, "prices.simulatd/sim-small");
  await wrong({ prices: { "simulated/a": price("1e3", "2") } }, "prices.simulated/a");
  await wrong({ prices: { "simulated/a": price("1", "2", { priority: price("-1", "2") }) } }, "prices.simulated/a");
  await wrong({ prices: Object.fromEntries(Array.from({ length: 501 }, (_, n) => [`simulated/m${n}`, price("1", "2")])) }, "prices");
  assertFailure(await site.admin("PUT", "/prices", "{"), { ...FAILURES.json, admin: true });
  assertFailure(await put({}, { "if-match": "x" }), { ...FAILURES.field("if-match"), admin: true });
  assertFailure(await site.admin("PUT", "/prices", { prices: {} }, { authorization: "Bearer x" }), FAILURES.operator);
  assertFailure(await site.admin("GET", "/prices", undefined, { authorization: `Bearer ${tenant.key}` }), FAILURES.operator);
  const method = await site.admin("DELETE", "/prices");
  assertFailure(method, { ...FAILURES.method, admin: true });
  assert.equal(method.headers.allow, "GET, PUT");
  assert.equal((await current()).json.version, 0);
  const same = await charged(tenant);
  assert.equal(same.headers["x-tollgate-cost-usd"], cost(same, PRICE));
});

describe("a change", () => {
  const DEARER = { input: 2000, output: 3000 };

  test("holds for the next request of a warm worker, and what was settled stays", async () => {
    const { spent_usd: before } = await tenant.settled();
    const { version } = await site.manage("GET", `/tenants/${tenant.id}`);
    const answer = await put({ [MODEL]: price("2", "3"), "simulated/*": price("9", "9") }, { "if-match": '"0"' });
    assert.deepEqual([answer.status, answer.headers.etag], [200, '"1"']);
    assert.deepEqual([answer.json.version, answer.json.tenants_told, answer.json.tenants_later], [1, 1, 0]);
    const known = await site.manage("GET", `/tenants/${tenant.id}`);
    assert.deepEqual([known.version, known.operator_prices], [version + 1, 1]);
    const next = await charged(tenant);
    assert.equal(next.headers["x-tollgate-cost-usd"], cost(next, DEARER));
    assert.equal(await lastPrice(tenant), `operator:${MODEL}@1`);
    const told = await site.manage("GET", `/tenants/${tenant.id}/requests/${next.headers["x-request-id"]}`);
    assert.deepEqual(told.attempts.map((attempt) => attempt.price), [`operator:${MODEL}@1`]);
    const { spent_usd: now } = await tenant.settled();
    assert.equal(nano(now) - nano(before), nano(cost(next, DEARER)));
    const other = await charged(tenant, "simulated/sim-other-l0-n20");
    assert.equal(other.headers["x-tollgate-cost-usd"], cost(other, { input: 9000, output: 9000 }));
  });

  test("that is too late, or the wrong one's, is refused", async () => {
    const late = await put({}, { "if-match": '"0"' });
    assert.deepEqual([late.status, late.json.error.code], [412, "precondition_failed"]);
    assert.deepEqual((await current()).json.prices, { [MODEL]: price("2", "3"), "simulated/*": price("9", "9") });
  });

  test("holds after a restart", async () => {
    await site.killAndRestart();
    const answer = await charged(tenant);
    assert.equal(answer.headers["x-tollgate-cost-usd"], cost(answer, DEARER));
    assert.equal((await current()).json.version, 1);
  });

  test("holds for a tenant that is created later, from its first version on", async () => {
    const later = await site.tenant("later");
    const { version, operator_prices } = await site.manage("GET", "/tenants/later");
    assert.deepEqual([version, operator_prices], [1, 1]);
    const answer = await charged(later);
    assert.equal(answer.headers["x-tollgate-cost-usd"], cost(answer, DEARER));
  });

  test("gives way to the tenant's own price", async () => {
    const own = await site.tenant("own", { prices: { "simulated/*": price("0.1", "0.2") } });
    const answer = await charged(own);
    assert.equal(answer.headers["x-tollgate-cost-usd"], cost(answer, { input: 100, output: 200 }));
    assert.equal(await lastPrice(own), "tenant:simulated/*");
  });

  test("is what dry runs and replays reckon with", async () => {
    const dry = async () => {
      const answer = await tenant.chat({ ...ask(""), model: MODEL }, { headers: { "x-tollgate-dry-run": "true" } });
      return JSON.parse(answer.text).candidates[0];
    };
    const { config } = await site.manage("GET", `/tenants/${tenant.id}`);
    const replay = () => site.manage("POST", `/tenants/${tenant.id}/replay`, { config });
    assert.equal((await dry()).price, `operator:${MODEL}@1`);
    await put({ [MODEL]: price("4", "6"), "simulated/*": price("9", "9") });
    const after = await dry();
    assert.equal(after.price, `operator:${MODEL}@2`);
    const rows = (await site.manage("GET", `/tenants/${tenant.id}/requests`)).data;
    const spent = rows.reduce((sum, row) => sum + nano(row.cost_usd), 0);
    const replayed = await replay();
    assert.equal(nano(replayed.cost_before_usd), spent);
    // Some were decided at 0.5 and 1.5, some at 2 and 3, one at 9 and 9; all are reckoned at the prices of now.
    const { data } = await site.manage("GET", `/tenants/${tenant.id}/requests`);
    const explained = await Promise.all(data.map((row) => site.manage("GET", `/tenants/${tenant.id}/requests/${row.id}`)));
    const now = explained.reduce((sum, { usage, target }) => {
      const [input, output] = target === MODEL ? [4000, 6000] : [9000, 9000];
      return sum + usage.input_tokens * input + usage.output_tokens * output;
    }, 0);
    assert.equal(nano(replayed.cost_after_usd), now);
  });

  test("of a version that is gone can be looked up while it is kept", async () => {
    assert.equal((await site.manage("GET", "/prices?version=1")).prices[MODEL].input_usd_per_mtok, "2");
    assertFailure(await site.admin("GET", "/prices?version=99"), { ...FAILURES.noPath, admin: true });
    assertFailure(await site.admin("GET", "/prices?version=x"), { ...FAILURES.field("version"), admin: true });
  });

  test("that did not reach a tenant is handed on by the cron run", async () => {
    await call(`${site.url}/__fault?lost`);
    const answer = await put({ [MODEL]: price("5", "5") });
    const { version } = answer.json;
    const count = (await site.manage("GET", "/tenants")).data.length;
    assert.deepEqual([answer.status, answer.json.tenants_told, answer.json.tenants_later], [200, 0, count]);
    const old = await charged(tenant);
    assert.equal(old.headers["x-tollgate-cost-usd"], cost(old, { input: 4000, output: 6000 }));
    await call(`${site.url}/__fault?`);
    const cron = async () => {
      const fired = await call(`${site.gateway.controlUrl}/scheduled?cron=*%20*%20*%20*%20*&time=${Date.now()}`, { method: "POST" });
      assert.equal(JSON.parse(fired.text).outcome, "ok");
      return (await site.manage("GET", "/fleet")).last_cron.failed;
    };
    assert.equal(await cron(), 0);
    const now = await charged(tenant);
    assert.equal(now.headers["x-tollgate-cost-usd"], cost(now, { input: 5000, output: 5000 }));
    const known = await site.manage("GET", `/tenants/${tenant.id}`);
    assert.equal(known.operator_prices, version);
    // Again changes nothing.
    assert.equal(await cron(), 0);
    assert.equal((await site.manage("GET", `/tenants/${tenant.id}`)).version, known.version);
  });

  test("to nothing leaves the catalogue's and the provider's prices", async () => {
    await put({});
    const answer = await charged(tenant);
    assert.equal(answer.headers["x-tollgate-cost-usd"], cost(answer, PRICE));
    assert.equal((await site.manage("GET", `/tenants/${tenant.id}`)).operator_prices, null);
  });
});
