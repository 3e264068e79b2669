// A gateway key is changed while it is in use: what is given changes, at once; what is absent stays.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until } from "./call.mjs";
import { FAILURES, assertFailure } from "./failure.mjs";
import { ask, openSite } from "./site.mjs";

let site;

before(async () => {
  site = await openSite();
});

after(async () => {
  if (site) await site.close();
});

const refused = (answer, expected) => assertFailure(answer, { ...expected, admin: true });
const conflict = { status: 409, type: "invalid_request_error", code: "conflict" };
const soon = (ms) => new Date(Date.now() + ms).toISOString();

describe("a change of a key", () => {
  test("changes what is given, and is seen wherever the key is shown", async () => {
    const tenant = await site.tenant("patch");
    const path = `/tenants/patch/keys/${tenant.keyId}`;
    let view = await site.manage("GET", path);
    assert.deepEqual([view.critical, view.metadata, view.expires_at], [false, {}, null]);
    const expires_at = soon(3_600_000);
    for (const change of [
      { name: "renamed é" }, { models: ["fast", "simulated/sim-l0"] }, { critical: true }, { metadata: { team: "red", env: "é" } },
      { expires_at }, {}, { models: [], critical: false }, { metadata: {} }, { expires_at: null, name: "" },
    ]) {
      view = { ...view, ...change };
      const answer = await site.admin("PATCH", path, change);
      assert.deepEqual([answer.status, answer.json], [200, view], JSON.stringify(change));
      assert.deepEqual(await site.manage("GET", path), view);
      assert.deepEqual((await site.manage("GET", "/tenants/patch/keys")).data, [view]);
    }
    assert.equal((await tenant.chat(ask("sim-l0"))).status, 200);
    await site.killAndRestart();
    assert.deepEqual(await site.manage("GET", path), view);
  });

  test("holds from the next request on", async () => {
    const limits = [{ id: "per-team", scope: "metadata:team", requests: 1, window_s: 600 }];
    const tenant = await site.tenant("acts", { limits });
    const change = (patch) => site.manage("PATCH", `/tenants/acts/keys/${tenant.keyId}`, patch);
    const status = async () => (await tenant.chat(ask("sim-l0"))).status;
    assert.deepEqual([await status(), await status()], [200, 200]);
    await change({ models: ["other"] });
    assertFailure(await tenant.chat(ask("sim-l0")), FAILURES.modelNotAllowed);
    await change({ models: [], metadata: { team: "red" } });
    assert.deepEqual([await status(), await status()], [200, 429]);
    await change({ metadata: { team: "blue" } });
    assert.deepEqual([await status(), await status()], [200, 429]);
    await change({ metadata: {}, expires_at: soon(400) });
    await until("the key expires", async () => (await status()) === 401);
    await change({ expires_at: null });
    assert.equal(await status(), 200);
  });

  test("that is wrong is refused with the field's name, and changes nothing", async () => {
    const tenant = await site.tenant("stays", {});
    const path = `/tenants/stays/keys/${tenant.keyId}`;
    const before = await site.manage("GET", path);
    const nine = Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`f${i}`, "x"]));
    for (const [param, values] of Object.entries({
      name: ["x".repeat(129), "a\nb", 5, null],
      models: [[""], ["x".repeat(257)], Array(101).fill("m"), "fast", null],
      expires_at: ["tomorrow", "2020-01-01T00:00:00Z", "", 5],
      critical: ["yes", null],
      metadata: [nine, { "": "x" }, { team: "" }, { team: "x".repeat(257) }, { ["x".repeat(65)]: "x" }, { team: "a\u0000" }, [], null],
      nam: ["unknown"],
      id: ["key_other"],
      revoked_at: [null],
    })) {
      for (const value of values) {
        // What else is given is not taken either.
        const body = { name: "taken", critical: true, [param]: value };
        refused(await site.admin("PATCH", path, body), FAILURES.field(param));
        refused(await site.admin("POST", "/tenants/stays/keys", { [param]: value }), FAILURES.field(param));
      }
    }
    refused(await site.admin("PATCH", path, { metadata: { team: 5 } }), FAILURES.field("metadata.team"));
    refused(await site.admin("PATCH", path, []), FAILURES.field(null));
    refused(await site.admin("PATCH", path, "{"), FAILURES.json);
    refused(await site.admin("PATCH", path, '{"name":"a"} {}'), FAILURES.json);
    refused(await site.admin("PATCH", path, {}, { "content-type": "text/plain" }), FAILURES.mediaType);
    assert.deepEqual((await site.manage("GET", "/tenants/stays/keys")).data, [before]);
  });

  test("of a revoked key, another tenant's, or none at all is refused", async () => {
    const tenant = await site.tenant("gone");
    const path = `/tenants/gone/keys/${tenant.keyId}`;
    const revoked = await site.manage("DELETE", path);
    const error = refused(await site.admin("PATCH", path, { name: "again", expires_at: null }), conflict);
    assert.match(error.message, /revoked/);
    assert.deepEqual(await site.manage("GET", path), revoked);
    await site.tenant("other");
    for (const [owner, id] of [["other", tenant.keyId], ["gone", "key_none"], ["nobody", tenant.keyId]]) {
      refused(await site.admin("PATCH", `/tenants/${owner}/keys/${id}`, { name: "x" }), FAILURES.noPath);
    }
    const put = await site.admin("PUT", path, {});
    refused(put, FAILURES.method);
    assert.equal(put.headers.allow, "GET, PATCH, DELETE");
  });
});

test("a new key has what it was made with", async () => {
  const tenant = await site.tenant("made");
  const made = await tenant.newKey({ name: "batch", critical: true, metadata: { team: "red" } });
  assert.deepEqual([made.critical, made.metadata], [true, { team: "red" }]);
  const { key, ...view } = made;
  assert.deepEqual(await site.manage("GET", `/tenants/made/keys/${view.id}`), view);
  assert.equal((await tenant.chat(ask("sim-l0"), { key })).status, 200);
});
