// The control plane: tenants, their configuration and keys, and the cron run that tidies up.
import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { call, until } from "./call.mjs";
import { FAILURES, assertFailure } from "./failure.mjs";
import { tenantsOnDisk } from "./rows.mjs";
import { SECRETS, ask, nano, openSite } from "./site.mjs";

let site;

before(async () => {
  site = await openSite();
});

after(async () => {
  if (site) await site.close();
});

const refused = (answer, expected) => assertFailure(answer, { ...expected, admin: true });
const noTenant = FAILURES.noPath;
const conflict = { status: 412, type: "invalid_request_error", code: "precondition_failed" };
const listed = async (query = "") => (await site.manage("GET", `/tenants${query}`)).data.map(({ id }) => id);

describe("a tenant", () => {
  test("is created, read, changed, listed and deleted", async () => {
    const config = { limits: [{ id: "rpm", scope: "tenant", requests: 5, window_s: 60 }] };
    const created = await site.admin("PUT", "/tenants/one", { config });
    assert.deepEqual([created.status, created.headers.etag, created.json.version], [201, '"1"', 1]);
    assert.deepEqual([created.json.object, created.json.id, created.json.config.limits], ["tenant", "one", config.limits]);
    const read = await site.admin("GET", "/tenants/one");
    assert.deepEqual([read.status, read.headers.etag, read.json], [200, '"1"', created.json]);
    const changed = await site.admin("PUT", "/tenants/one", { config: {} });
    assert.deepEqual([changed.status, changed.headers.etag, changed.json.config.limits], [200, '"2"', []]);
    assert.ok((await listed()).includes("one"));
    const deleted = await site.admin("DELETE", "/tenants/one");
    assert.deepEqual([deleted.status, deleted.json.deleted], [200, true]);
    for (const route of ["", "/config", "/keys", "/usage", "/limits", "/budgets"]) {
      refused(await site.admin("GET", `/tenants/one${route}`), noTenant);
    }
    refused(await site.admin("DELETE", "/tenants/one"), noTenant);
    refused(await site.admin("PUT", "/tenants/one/config", {}), noTenant);
    refused(await site.admin("POST", "/tenants/one/keys", {}), noTenant);
    assert.ok(!(await listed()).includes("one"));
  });

  test("has its defaults filled in", async () => {
    const { config } = await site.manage("PUT", "/tenants/defaults", {});
    assert.deepEqual(config.cache, { enabled: false, ttl_s: 300 });
    assert.deepEqual(config.timeouts, { first_byte_ms: 60_000, idle_ms: 60_000, total_ms: 600_000 });
    assert.equal(config.unknown_price, "reject");
    assert.equal(config.permit.lifetime_s, 660);
    // What is read can be written back.
    const again = await site.admin("PUT", "/tenants/defaults/config", config);
    assert.deepEqual([again.status, again.json.config], [200, config]);
  });

  test("has an id of the stated form", async () => {
    for (const id of ["A", "a_b", "-a", "a-", "a".repeat(33), "a.b", "%61cme", "a%20b", "%C3%A9", ""]) {
      for (const method of ["GET", "PUT", "DELETE"]) {
        const body = method === "PUT" ? {} : undefined;
        refused(await site.admin(method, `/tenants/${id}`, body), FAILURES.field("tenant"));
      }
    }
    for (const id of ["a", "0", "a-b", "a--b", "a".repeat(32)]) {
      assert.equal((await site.admin("PUT", `/tenants/${id}`, {})).status, 201, id);
      await site.manage("DELETE", `/tenants/${id}`);
    }
  });

  test("that is deleted is gone: its key, its counters, its money; made anew it starts at zero", async () => {
    const config = { limits: [{ id: "few", requests: 3, window_s: 600 }] };
    const tenant = await site.tenant("phoenix", config);
    for (let i = 0; i < 3; i += 1) assert.equal((await tenant.chat(ask("sim-l0"))).status, 200);
    assert.equal((await tenant.chat(ask("sim-l0"))).status, 429);
    assert.notEqual((await tenant.settled()).spent_usd, "0");
    assert.ok((await tenant.usage()).length > 0);
    // One is still under way when the tenant goes.
    await site.manage("PUT", "/tenants/phoenix/config", { budgets: [{ id: "all", limit_usd: "1000", period: "total" }] });
    const under = tenant.chat(ask("sim-phoenix-l500"));
    await until("it is at the provider", async () => (await site.journal({ model: "sim-phoenix-l500" })).length);
    await site.manage("DELETE", "/tenants/phoenix");
    assertFailure(await tenant.chat(ask("sim-l0")), FAILURES.key);
    const again = await site.tenant("phoenix", config);
    assert.equal((await under).status, 200);
    await again.settled();
    assertFailure(await tenant.chat(ask("sim-l0")), FAILURES.key);
    const { limits, budgets } = (await again.get("/v1/usage")).json;
    assert.deepEqual([limits[0].used, budgets[0].spent_usd, budgets[0].held_usd], [0, "0", "0"]);
    assert.deepEqual((await again.usage()).filter((row) => row.outcome !== "denied"), []);
    assert.equal((await site.manage("GET", "/tenants/phoenix/keys")).data.length, 1);
    assert.equal((await site.manage("GET", "/tenants/phoenix")).version, 1);
    const answer = await again.chat(ask("sim-l0"));
    assert.equal((await again.settled()).spent_usd, answer.headers["x-tollgate-cost-usd"]);
  });
});

describe("a configuration", () => {
  test("is changed only in the version that was read", async () => {
    await site.manage("PUT", "/tenants/etag", {});
    const put = (tag, route = "/config", body = {}) => site.admin("PUT", `/tenants/etag${route}`, body, { "if-match": tag });
    const read = await site.admin("GET", "/tenants/etag/config");
    assert.deepEqual([read.headers.etag, (await put('"1"')).status], ['"1"', 200]);
    refused(await put('"1"'), conflict);
    refused(await put('"1"', "", { config: {} }), conflict);
    refused(await put('"9"'), conflict);
    assert.equal((await put("*")).headers.etag, '"3"');
    for (const tag of ["abc", '"x"', '"1", "3"', "-1"]) refused(await put(tag), FAILURES.field("if-match"));
    assert.equal((await site.manage("GET", "/tenants/etag")).version, 3);
    // Of many that read the same version one wins.
    const answers = await Promise.all(Array.from({ length: 8 }, () => put('"3"')));
    assert.deepEqual(answers.map(({ status }) => status).sort(), [200, ...Array(7).fill(412)]);
  });

  test("is not created by a change to what is not there", async () => {
    refused(await site.admin("PUT", "/tenants/never", {}, { "if-match": '"1"' }), conflict);
    assert.ok(!(await listed()).includes("never"));
    refused(await site.admin("GET", "/tenants/never"), noTenant);
  });

  const wrong = {
    "limits[0].requests": { limits: [{ id: "a", requests: 0, window_s: 60 }] },
    "limits[1].window_s": { limits: [{ id: "a", requests: 1, window_s: 1 }, { id: "b", requests: 1, window_s: 86_401 }] },
    "limits[1].id": { limits: [{ id: "a", requests: 1, window_s: 1 }, { id: "a", requests: 1, window_s: 1 }] },
    "budgets[0].id": { budgets: [{ id: "a b", limit_usd: "1", period: "day" }] },
    "models.a/b": { models: { "a/b": { target: "x/y" } } },
    "models.fast.target": { models: { fast: { target: "no-slash" } } },
    "prices.x": { prices: { x: { input_usd_per_mtok: "1", output_usd_per_mtok: "1" } } },
    "prices.x/*": { prices: { "x/*": { input_usd_per_mtok: "1e3", output_usd_per_mtok: "1" } } },
    "unknown_price.default_price": { unknown_price: { default_price: { input_usd_per_mtok: "-1", output_usd_per_mtok: "1" } } },
    "cache.ttl_s": { cache: { enabled: true, ttl_s: 0 } },
    "permit.lifetime_s": { permit: { lifetime_s: 10 } },
    "timeouts.idle_ms": { timeouts: { idle_ms: 0 } },
  };
  test("that is wrong is refused with the field's name, and changes nothing", async () => {
    await site.manage("PUT", "/tenants/wrong", {});
    for (const [param, config] of Object.entries(wrong)) {
      refused(await site.admin("PUT", "/tenants/wrong", { config }), FAILURES.field(param));
      refused(await site.admin("PUT", "/tenants/wrong/config", config), FAILURES.field(param));
      refused(await site.admin("PUT", "/tenants/unmade", { config }), FAILURES.field(param));
    }
    assert.equal((await site.manage("GET", "/tenants/wrong")).version, 1);
    assert.ok(!(await listed()).includes("unmade"));
  });

  test("of another shape is refused, with what is wrong in words", async () => {
    const rule = (more) => ({ limits: [{ id: "a", requests: 1, window_s: 1, ...more }] });
    const purse = (limit_usd, period) => ({ budgets: [{ id: "a", limit_usd, period }] });
    const shapes = [
      [{ limit: [] }, "limit", /unknown field/], [{ limits: {} }, "limits", /sequence/], [rule({ id: undefined }), "limits[0]", /`id`/],
      [rule({ requests: -1 }), "limits[0].requests", /-1/], [rule({ scope: "world" }), "limits[0].scope", /world/],
      [purse(5, "day"), "budgets[0].limit_usd", /decimal/], [purse("-5", "day"), "budgets[0].limit_usd", /decimal/],
      [purse("5", "fortnight"), "budgets[0].period", /fortnight/], [{ cache: { enabled: "yes" } }, "cache.enabled", /boolean/],
      [[], null, /object/], [5, null, /object/],
    ];
    for (const [config, param, words] of shapes) {
      for (const [route, body] of [["", { config }], ["/config", config]]) {
        const error = refused(await site.admin("PUT", `/tenants/wrong${route}`, body), FAILURES.field(param));
        assert.match(error.message, words);
      }
    }
    refused(await site.admin("PUT", "/tenants/wrong", { confg: {} }), FAILURES.field("confg"));
    refused(await site.admin("PUT", "/tenants/wrong", "{"), FAILURES.json);
    refused(await site.admin("PUT", "/tenants/wrong", {}, { "content-type": "text/plain" }), FAILURES.mediaType);
    refused(await site.admin("PUT", "/tenants/wrong", {}, { "content-encoding": "gzip" }), FAILURES.encoding);
    refused(await site.admin("PUT", "/tenants/wrong", JSON.stringify({ filling: "x".repeat(300_000) })), FAILURES.tooLarge);
  });

  test("works from the next request on", async () => {
    const tenant = await site.tenant("fresh", { models: { m: { target: "simulated/sim-before-l0" } } });
    assert.equal((await tenant.chat(ask("", { model: "m" }))).headers["x-tollgate-model"], "sim-before-l0");
    await site.manage("PUT", "/tenants/fresh/config", { models: { m: { target: "simulated/sim-after-l0" } } });
    assert.equal((await tenant.chat(ask("", { model: "m" }))).headers["x-tollgate-model"], "sim-after-l0");
  });
});

test("lists come in pages", async () => {
  const ids = Array.from({ length: 7 }, (_, i) => `page-${i}`);
  await Promise.all(ids.map((id) => site.manage("PUT", `/tenants/${id}`, {})));
  const all = await listed();
  assert.deepEqual(all, [...all].sort());
  for (const list of ["/tenants", "/fleet"]) {
    const paged = [];
    let cursor = null;
    do {
      const page = await site.manage("GET", `${list}?limit=3${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
      assert.ok(page.data.length <= 3);
      assert.equal(page.next_cursor === null, paged.length + page.data.length === all.length);
      paged.push(...page.data.map(({ id }) => id));
      cursor = page.next_cursor;
    } while (cursor);
    assert.deepEqual(paged, all);
    for (const limit of ["0", "-1", "101", "x", "1.5", ""]) {
      refused(await site.admin("GET", `${list}?limit=${limit}`), FAILURES.field("limit"));
    }
  }
  assert.deepEqual(await listed("?cursor=zzz"), []);
});

describe("a key", () => {
  test("is shown once, then only its ends", async () => {
    const tenant = await site.tenant("keys");
    const made = await site.admin("POST", "/tenants/keys/keys", { name: "ci é", models: ["fast"] });
    assert.equal(made.status, 201);
    const { key, ...view } = made.json;
    assert.match(key, /^tg_keys_[0-9A-Za-z]{49}$/);
    assert.deepEqual([view.name, view.models, view.revoked_at, view.expires_at], ["ci é", ["fast"], null, null]);
    assert.ok(key.startsWith(view.prefix) && key.endsWith(view.last4));
    assert.ok(view.prefix.length + view.last4.length <= "tg_keys_".length + 8);
    const list = await site.admin("GET", "/tenants/keys/keys");
    assert.deepEqual(list.json.data.map(({ id }) => id), [tenant.keyId, view.id]);
    const one = await site.admin("GET", `/tenants/keys/keys/${view.id}`);
    assert.deepEqual(one.json, view);
    const revoked = await site.admin("DELETE", `/tenants/keys/keys/${view.id}`);
    const twice = await site.admin("DELETE", `/tenants/keys/keys/${view.id}`);
    assert.ok(revoked.json.revoked_at);
    assert.deepEqual([revoked.status, twice.status, twice.json], [200, 200, revoked.json]);
    for (const { text } of [list, one, revoked]) assert.ok(!text.includes(key) && !text.includes(key.slice(12, -6)));
  });

  test("that is wrong is refused with the field's name", async () => {
    await site.manage("PUT", "/tenants/wrong", {});
    const post = (body) => site.admin("POST", "/tenants/wrong/keys", body);
    for (const [param, values] of Object.entries({
      name: ["x".repeat(129), "a\nb"],
      models: [[""], ["x".repeat(257)], Array(101).fill("m")],
      expires_at: ["tomorrow", "2020-01-01T00:00:00Z", ""],
    })) {
      for (const value of values) refused(await post({ [param]: value }), FAILURES.field(param));
    }
    for (const [param, body] of [["name", { name: 5 }], ["models", { models: "fast" }], ["nam", { nam: "x" }], [null, []]]) {
      refused(await post(body), FAILURES.field(param));
    }
    assert.deepEqual((await site.manage("GET", "/tenants/wrong/keys")).data, []);
  });

  test("that is not there", async () => {
    for (const method of ["GET", "DELETE"]) refused(await site.admin(method, "/tenants/keys/keys/key_none"), noTenant);
    // Another tenant's key is not there either.
    const other = await site.tenant("other");
    for (const method of ["GET", "DELETE"]) refused(await site.admin(method, `/tenants/keys/keys/${other.keyId}`), noTenant);
    assert.equal((await other.chat(ask("sim-l0"))).status, 200);
  });
});

test("usage is told for the asked time", async () => {
  const tenant = await site.tenant("times");
  await tenant.chat(ask("sim-l0"));
  await tenant.settled();
  const ask1 = (query) => site.admin("GET", `/tenants/times/usage?${query}`);
  const hour = (n) => new Date(Date.now() + n * 3_600_000).toISOString();
  assert.equal((await ask1("")).json.data.length, 1);
  assert.equal((await ask1(`from=${hour(-2)}&to=${hour(1)}`)).json.data.length, 1);
  assert.equal((await ask1(`from=${hour(-2)}&to=${hour(-1)}`)).json.data.length, 0);
  for (const name of ["from", "to"]) refused(await ask1(`${name}=yesterday`), FAILURES.field(name));
});

test("cron: each tenant is visited, cleaned once, and told of in the fleet", async () => {
  const tenant = await site.tenant("ticked");
  await tenant.chat(ask("sim-l0"));
  const { spent_usd: spent } = await tenant.settled();
  const fire = async (time) => {
    const answer = await call(`${site.gateway.controlUrl}/scheduled?cron=*%20*%20*%20*%20*&time=${time}`, { method: "POST" });
    assert.deepEqual([answer.status, JSON.parse(answer.text).outcome], [200, "ok"]);
    return site.manage("GET", "/fleet");
  };
  assert.equal((await site.manage("GET", "/fleet")).last_cron, null);
  const time = Math.floor(Date.now() / 60_000) * 60_000;
  const first = await fire(time);
  const count = (await listed()).length;
  assert.deepEqual(
    [first.last_cron.scheduled_at, first.last_cron.tenants, first.last_cron.cleaned, first.last_cron.failed],
    [new Date(time).toISOString(), count, count, 0],
  );
  const row = first.data.find(({ id }) => id === "ticked");
  assert.deepEqual([row.requests, row.denied, row.cost_usd], [1, 0, spent]);
  assert.ok(row.cleaned_at && row.as_of);
  for (const at of [time, time + 60_000]) {
    const { last_cron: again, data } = await fire(at);
    assert.deepEqual([again.tenants, again.cleaned, again.failed], [count, 0, 0]);
    assert.equal(data.find(({ id }) => id === "ticked").cleaned_at, row.cleaned_at);
  }
  assert.equal((await tenant.budget()).spent_usd, spent);
  await until("the log tells of the runs", async () => site.log.filter((line) => line.includes('"event":"cron"')).length === 3);
});

test("no key, and no secret, is anywhere on disk; what stands there are hashes", async () => {
  const tenant = await site.tenant("disk", { cache: { enabled: true, ttl_s: 300 } });
  const body = ask("sim-disk-l0");
  await until("an answer is in the built-in KV", async () => (await tenant.chat(body)).headers["x-tollgate-cache"] === "hit");
  await tenant.chat(body, { headers: { "x-api-key": tenant.key } });
  const { spent_usd: spent } = await tenant.settled();
  await tenant.usage();
  await site.gateway.stop();
  const files = (await readdir(site.stateDir, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  const read = await Promise.all(files.map((entry) => readFile(path.join(entry.parentPath ?? entry.path, entry.name))));
  const all = Buffer.concat(read);
  // The search would find what is there.
  for (const there of ["chatcmpl-", tenant.keyId, "sim-disk-l0"]) assert.ok(all.includes(there), there);
  const secret = tenant.key.slice("tg_disk_".length);
  for (const gone of [tenant.key, secret, secret.slice(0, 43), ...Object.values(SECRETS)]) assert.ok(!all.includes(gone), gone);
  const { keys, usage } = (await tenantsOnDisk(site.stateDir)).get("disk");
  assert.match(keys[0].hash, /^[0-9a-f]{64}$/);
  assert.equal(usage.reduce((sum, row) => sum + row.cost, 0), nano(spent));
});
