// The tenant's object cannot be asked, or has too much to do. A copy of the bundle stands in for the
// platform's failures: between worker and object, messages are lost on command.
import assert from "node:assert/strict";
import { appendFile, cp, mkdtemp, readFile, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { ROOT } from "../../scripts/lib/stack.mjs";
import { call, pause, until } from "./call.mjs";
import { assertFailure, FAILURES } from "./failure.mjs";
import { ONCE, ask, openSite } from "./site.mjs";

let dir;
let site;

before(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), "tollgate-unreachable-"));
  await cp(path.join(ROOT, "build"), dir, { recursive: true });
  const source = await readFile(path.join(dir, "index.js"), "utf8");
  const name = /export\s*\{[^{}]*?(\w+)\s+as\s+default[^{}]*\}/.exec(source)?.[1];
  assert.ok(name, "the bundle ends in a new form: this test must follow");
  await appendFile(path.join(dir, "index.js"), `\n;(${fault})(${name});\n`);
  site = await openSite({ gateway: { bundleDir: dir } });
});

after(async () => {
  if (site) await site.close();
  await rm(dir, { recursive: true, force: true });
});

/** Runs inside the gateway, as text: `/__fault?mode` sets what calls to tenants' objects come to. */
function fault(entry) {
  const { fetch } = entry;
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
              if (mode === "lost") throw new Error("network connection lost");
              if (mode === "overloaded") throw Object.assign(new Error("overloaded"), { overloaded: true });
              return stub.turn(text);
            },
          };
        },
      },
    });
  entry.fetch = (request, env, ctx) => {
    const url = new URL(request.url);
    if (url.pathname !== "/__fault") return fetch.call(entry, request, around(env), ctx);
    mode = url.search.slice(1);
    return new Response(mode);
  };
}

const become = async (mode) => assert.equal((await call(`${site.url}/__fault?${mode}`)).text, mode);
const asked = async (model) => (await site.journal({ model })).length;
const OPEN = { requests: 1000, window_s: 60, when_unreachable: "open" };

test("with a budget nothing passes while the ledger cannot be asked", async () => {
  const tenant = await site.tenant("closed", { limits: [{ id: "rpm", ...OPEN }] });
  assert.equal((await tenant.chat(ask("sim-closed-l0"))).status, 200);
  await become("lost");
  try {
    assertFailure(await tenant.chat(ask("sim-closed-l0")), FAILURES.ledgerUnavailable);
  } finally {
    await become("");
  }
  assert.equal(await asked("sim-closed-l0"), 1);
  assert.equal((await tenant.chat(ask("sim-closed-l0"))).status, 200);
});

test("after an attempt that may have cost something there is no other while the ledger cannot be asked", async () => {
  const [first, second] = ["sim-again-hang", "sim-again-next-l0"];
  const models = { m: { targets: [`simulated/${first}`, `simulated/${second}`] } };
  const tenant = await site.tenant("again", { models, timeouts: { first_byte_ms: 5_000 }, retry: ONCE });
  const answer = tenant.chat({ ...ask("any"), model: "m" });
  await until("the first target is asked", async () => (await asked(first)) === 1);
  await become("lost");
  try {
    assertFailure(await answer, FAILURES.timeout);
  } finally {
    await become("");
  }
  assert.equal(await asked(second), 0);
  await tenant.settled(10_000);
});

test("limits that are open let pass whoever passed lately, and that is counted afterwards", async () => {
  const limits = [{ id: "rpm", ...OPEN }];
  const tenant = await site.tenant("open", { limits, budgets: [] });
  const stranger = await tenant.newKey({ name: "stranger" });
  assert.equal((await tenant.chat(ask("sim-open-l0"))).status, 200);
  await become("lost");
  try {
    const answer = await tenant.chat(ask("sim-open-l0"));
    assert.deepEqual([answer.status, answer.headers["x-tollgate-degraded"]], [200, "ledger open"]);
    // A key, and a model, that the ledger did not let pass lately, is not taken on trust.
    assertFailure(await tenant.chat(ask("sim-open-l0"), { key: stranger.key }), FAILURES.ledgerUnavailable);
    assertFailure(await tenant.chat(ask("sim-strange-l0")), FAILURES.ledgerUnavailable);
  } finally {
    await become("");
  }
  await until("it is counted", async () => {
    const { data } = await site.manage("GET", "/tenants/open/violations");
    return data.some(({ rule, count }) => rule === "ledger open" && count === 1);
  });
  assert.ok(site.log.some((line) => line.includes('"admitted_without_ledger"')));
});

test("limits that say nothing are closed", async () => {
  const tenant = await site.tenant("silent", { limits: [{ id: "rpm", requests: 1000, window_s: 60 }], budgets: [] });
  assert.equal((await tenant.chat(ask("sim-silent-l0"))).status, 200);
  await become("lost");
  try {
    assertFailure(await tenant.chat(ask("sim-silent-l0")), FAILURES.ledgerUnavailable);
  } finally {
    await become("");
  }
});

test("an overloaded object is asked by critical keys only, for a second", async () => {
  const tenant = await site.tenant("busy");
  const { key } = await tenant.newKey({ name: "critical", critical: true });
  for (const one of [tenant.key, key]) assert.equal((await tenant.chat(ask("sim-crowd-l0"), { key: one })).status, 200);
  await become("overloaded");
  assertFailure(await tenant.chat(ask("sim-crowd-l0")), FAILURES.overloaded);
  await become("");
  // It would answer again, but is spared.
  assertFailure(await tenant.chat(ask("sim-crowd-l0")), FAILURES.overloaded);
  assert.equal((await tenant.chat(ask("sim-crowd-l0"), { key })).status, 200);
  await pause(1100);
  assert.equal((await tenant.chat(ask("sim-crowd-l0"))).status, 200);
});
