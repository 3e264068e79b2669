// A gateway that its operator has not finished setting up is closed, never open.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { call } from "./call.mjs";
import { FAILURES, assertFailure } from "./failure.mjs";
import { SECRETS, ask, openSite } from "./site.mjs";

let site;
let acme;

before(async () => {
  site = await openSite();
  acme = await site.tenant("acme");
});

after(async () => {
  if (site) await site.close();
});

async function restartWith(env) {
  await site.gateway.stop();
  Object.assign(site.options.env, SECRETS, env);
  await site.start();
}

async function readiness() {
  const answer = await call(`${site.url}/readyz`);
  return { ...JSON.parse(answer.text), status: answer.status };
}

test("everything set: ready", async () => {
  const { status, checks } = await readiness();
  assert.equal(status, 200);
  assert.deepEqual(Object.entries(checks).map(([name, { state }]) => [name, state]).sort(), [
    ["cache", "ok"], ["configuration", "ok"], ["durable_objects", "ok"], ["providers", "ok"],
  ]);
});

for (const token of [undefined, "", "   "]) {
  test(`without an operator token (${JSON.stringify(token)}) the control plane is closed`, async () => {
    await restartWith({ TOLLGATE_ADMIN_TOKEN: token });
    const headers = ["", " ", "    ", " undefined", ` ${SECRETS.TOLLGATE_ADMIN_TOKEN}`].map((rest) => ({ authorization: `Bearer${rest}` }));
    for (const one of [{}, ...headers]) {
      for (const asked of ["GET /tenants", "GET /tenants/acme", "DELETE /tenants/acme", "POST /tenants/acme/keys", "GET /fleet"]) {
        const [method, route] = asked.split(" ");
        assertFailure(await call(`${site.url}/admin/v1${route}`, { method, headers: one }), FAILURES.operator);
      }
    }
    assert.equal((await acme.chat(ask("sim-small-l0"))).status, 200);
    assert.equal((await call(`${site.url}/healthz`)).status, 200);
    const { status, checks } = await readiness();
    assert.deepEqual([status, checks.configuration.state], [503, "down"]);
    assert.match(checks.configuration.problems.join(), /TOLLGATE_ADMIN_TOKEN/);
  });
}

test("without a pepper no key works, and none can be made", async () => {
  await restartWith({ TOLLGATE_KEY_PEPPER: undefined });
  assertFailure(await acme.chat(ask("sim-small-l0")), FAILURES.notConfigured);
  for (const route of ["/v1/models", "/v1/usage"]) assertFailure(await acme.get(route), FAILURES.notConfigured);
  assertFailure(await site.admin("POST", "/tenants/acme/keys", { name: "x" }), { ...FAILURES.notConfigured, admin: true });
  assert.equal((await site.manage("GET", "/tenants/acme/keys")).data.length, 1);
  assert.equal((await readiness()).status, 503);
});

test("under another pepper the old keys are unknown", async () => {
  await restartWith({ TOLLGATE_KEY_PEPPER: "another-pepper" });
  assertFailure(await acme.chat(ask("sim-small-l0")), FAILURES.key);
});

test("operator's providers that cannot be read are told, and the rest goes on", async () => {
  await restartWith({ TOLLGATE_PROVIDERS: '{"simulated":' });
  const { status, checks } = await readiness();
  assert.equal(status, 503);
  assert.match(checks.configuration.problems.join(), /TOLLGATE_PROVIDERS/);
  assertFailure(await acme.chat(ask("sim-small-l0")), FAILURES.modelNotFound);
});

test("set again, all works as before", async () => {
  const { SIMULATED_API_KEY } = SECRETS;
  const simulated = { base_url: `${site.simulator.url}/v1`, api_key_env: "SIMULATED_API_KEY" };
  await restartWith({ SIMULATED_API_KEY, TOLLGATE_PROVIDERS: JSON.stringify({ simulated }) });
  assertFailure(await acme.chat(ask("sim-small-l0")), FAILURES.priceUnknown);
  const default_price = { input_usd_per_mtok: "1", output_usd_per_mtok: "1" };
  await restartWith({ TOLLGATE_PROVIDERS: JSON.stringify({ simulated: { ...simulated, default_price } }) });
  assert.equal((await acme.chat(ask("sim-small-l0"))).status, 200);
});
