// A tenant's secrets go in and never come out: not in an answer, not in the log, not on disk.
import assert from "node:assert/strict";
import { createDecipheriv, createHash } from "node:crypto";
import { readFile, readdir } from "node:fs/promises";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { call } from "./call.mjs";
import { FAILURES, assertFailure } from "./failure.mjs";
import { tenantsOnDisk } from "./rows.mjs";
import { SECRETS, openSite } from "./site.mjs";

const KEY = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const KEY_ID = "630dcd29";
const NEXT_KEY = Buffer.alloc(32, 7).toString("base64");
const NEXT_ID = createHash("sha256").update(Buffer.alloc(32, 7)).digest("hex").slice(0, 8);
/** Long enough to be recognised anywhere, also in parts. */
const VALUE = "sk-tenant-1c9e7f40d2b8a655wxyz";
const OTHER = '{"private_key":"-----BEGIN 5e0d7ac1\\n"}';

let site;

before(async () => {
  site = await openSite({ env: { TOLLGATE_SECRETS_KEY: KEY } });
});

after(async () => {
  if (site) await site.close();
});

async function restartWith(env) {
  await site.gateway.stop();
  Object.assign(site.options.env, env);
  await site.start();
}

const refused = (answer, expected) => assertFailure(answer, { ...expected, admin: true }, [VALUE]);
const conflict = { status: 409, type: "invalid_request_error", code: "conflict" };
const list = async (tenant) => (await site.manage("GET", `/tenants/${tenant}/secrets`)).data;

/** Opens a stored text as the documentation describes it. */
function open(sealed, tenant, field, key = Buffer.from(KEY, "hex")) {
  const [version, id, nonce, text] = sealed.split(".");
  assert.deepEqual([version, id], ["v1", createHash("sha256").update(key).digest("hex").slice(0, 8)]);
  const bytes = Buffer.from(text, "base64url");
  const decipher = createDecipheriv("aes-256-gcm", key, Buffer.from(nonce, "base64url"));
  decipher.setAAD(Buffer.from(`tollgate:v1:${tenant}:${field}`));
  decipher.setAuthTag(bytes.subarray(-16));
  return decipher.update(bytes.subarray(0, -16), undefined, "utf8") + decipher.final("utf8");
}

describe("a secret", () => {
  test("is put, listed and deleted, and each change is a new version of the configuration", async () => {
    await site.tenant("plain");
    const put = await site.manage("PUT", "/tenants/plain/secrets/openai", { value: `  ${VALUE}\n` });
    const { updated_at, ...rest } = put;
    assert.deepEqual(rest, { object: "secret", name: "openai", key_id: KEY_ID, last4: "wxyz", opens: true, problem: null });
    assert.match(updated_at, /^20\d\d-.*Z$/);
    await site.manage("PUT", "/tenants/plain/secrets/short", { value: "sk-123" });
    const rows = await list("plain");
    assert.deepEqual(rows.map(({ name, last4, opens }) => [name, last4, opens]), [["openai", "wxyz", true], ["short", null, true]]);
    assert.equal((await site.manage("GET", "/tenants/plain")).version, 3);
    // Who edits the document at the same time is told that something changed.
    const stale = await site.admin("PUT", "/tenants/plain/config", {}, { "if-match": '"1"' });
    assert.equal(stale.status, 412);
    assert.deepEqual(await site.manage("DELETE", "/tenants/plain/secrets/short"), { object: "secret", name: "short", deleted: true });
    refused(await site.admin("DELETE", "/tenants/plain/secrets/short"), FAILURES.noPath);
    assert.deepEqual((await list("plain")).map(({ name }) => name), ["openai"]);
  });

  test("that the configuration names stays, and one that it misses is told", async () => {
    await site.tenant("used");
    const providers = { simulated: { keys: ["first", "second"] } };
    const put = await site.manage("PUT", "/tenants/used/config", { providers });
    assert.deepEqual(put.missing_secrets, ["first", "second"]);
    await site.manage("PUT", "/tenants/used/secrets/second", { value: VALUE });
    assert.deepEqual((await site.manage("GET", "/tenants/used")).missing_secrets, ["first"]);
    const error = refused(await site.admin("DELETE", "/tenants/used/secrets/second"), conflict);
    assert.match(error.message, /`providers\.simulated\.keys\[1\]`/);
    // What is read can be put again as it is.
    await site.manage("PUT", "/tenants/used/config", await site.manage("GET", "/tenants/used/config"));
    await site.manage("PUT", "/tenants/used/config", {});
    await site.manage("DELETE", "/tenants/used/secrets/second");
  });

  test("is refused where it is none", async () => {
    await site.tenant("odd");
    const put = (name, body) => site.admin("PUT", `/tenants/odd/secrets/${name}`, body);
    for (const value of ["", "  ", "a\u0000b", "x".repeat(8193), 12345, null, [VALUE], { a: VALUE }]) {
      refused(await put("a", { value }), FAILURES.field("value"));
    }
    for (const body of [{}, { value: VALUE, name: "a" }, `"${VALUE}"`, `["${VALUE}"]`, VALUE]) {
      const answer = await put("a", body);
      assert.equal(answer.status, 400);
      assert.ok(!answer.text.includes(VALUE), answer.text);
    }
    for (const name of ["A", "a%2Fb", "a:b", "a".repeat(65), "%C3%A9"]) refused(await put(name, { value: VALUE }), FAILURES.field("name"));
    refused(await site.admin("PUT", "/tenants/nobody/secrets/a", { value: VALUE }), FAILURES.noPath);
    refused(await site.admin("GET", "/tenants/nobody/secrets"), FAILURES.noPath);
    refused(await site.admin("POST", "/tenants/odd/secrets", { value: VALUE }), FAILURES.method);
    refused(await site.admin("GET", "/tenants/odd/secrets/a"), FAILURES.method);
    assert.deepEqual(await list("odd"), []);
    const all = await Promise.all(Array.from({ length: 64 }, (_, n) => put(`s${n}`, { value: "x".repeat(8192) })));
    assert.deepEqual([...new Set(all.map(({ status }) => status))], [200]);
    refused(await put("more", { value: VALUE }), conflict);
    await site.manage("PUT", "/tenants/odd/secrets/s0", { value: VALUE });
  });

  test("is closed to others than operators", async () => {
    const tenant = await site.tenant("closed");
    for (const [method, route] of [["GET", ""], ["PUT", "/a"], ["DELETE", "/a"]]) {
      const headers = { authorization: `Bearer ${tenant.key}`, "content-type": "application/json" };
      const body = method === "PUT" ? { value: VALUE } : undefined;
      assertFailure(await call(`${site.url}/admin/v1/tenants/closed/secrets${route}`, { method, headers, body }), FAILURES.operator);
    }
  });
});

test("the plain value is nowhere: in no answer, no line of the log and no stored byte", async () => {
  await site.tenant("leak", { providers: { simulated: { keys: ["one", "two"] } } });
  const answers = [];
  for (const [name, value] of [["one", VALUE], ["two", OTHER]]) answers.push(await site.admin("PUT", `/tenants/leak/secrets/${name}`, { value }));
  for (const route of ["", "/config", "/secrets", "/keys", "/limits", "/budgets", "/usage", "/violations"]) {
    answers.push(await site.admin("GET", `/tenants/leak${route}`));
  }
  for (const route of ["/tenants", "/fleet"]) answers.push(await site.admin("GET", route));
  for (const route of ["/readyz", "/healthz"]) answers.push(await call(`${site.url}${route}`));
  answers.push(await site.admin("DELETE", "/tenants/leak/secrets/one"));
  await site.gateway.stop();
  const rows = (await tenantsOnDisk(site.stateDir)).get("leak").secrets.map(({ body }) => JSON.parse(body));
  const files = (await readdir(site.stateDir, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  const bytes = await Promise.all(files.map((file) => readFile(path.join(file.parentPath ?? file.path, file.name), "latin1")));
  assert.ok(bytes.some((text) => text.includes(rows[0].sealed.slice(0, 40))), "the right files are looked at");
  const seen = [...answers.map(({ headers, text }) => JSON.stringify(headers) + text), ...site.log, ...bytes];
  assert.ok(site.log.length > 0 && answers.every(({ status }) => status !== null));
  // Also in the forms that bytes of it take elsewhere.
  for (const value of [VALUE, OTHER]) {
    const parts = [value, value.slice(0, -4), JSON.stringify(value).slice(1, -1), value.slice(5, 21)];
    const forms = parts.flatMap((part) => [part, Buffer.from(part).toString("base64").slice(0, -4), Buffer.from(part).toString("hex")]);
    for (const form of forms) assert.ok(!seen.some((text) => text.includes(form)), `${form} was seen`);
  }
  // And it is there: sealed for this tenant and this name, and for no other.
  const sealed = Object.fromEntries(rows.map((row) => [row.name, row.sealed]));
  assert.equal(open(sealed.one, "leak", "secrets.one"), VALUE);
  assert.equal(open(sealed.two, "leak", "secrets.two"), OTHER);
  assert.throws(() => open(sealed.one, "leak", "secrets.two"));
  assert.throws(() => open(sealed.one, "other", "secrets.one"));
  await site.start();
});

describe("the key that seals", () => {
  test("is replaced while the one before still opens", async () => {
    await site.tenant("turn");
    await site.manage("PUT", "/tenants/turn/secrets/old", { value: VALUE });
    await restartWith({ TOLLGATE_SECRETS_KEY: NEXT_KEY, TOLLGATE_SECRETS_KEY_PREVIOUS: KEY });
    await site.manage("PUT", "/tenants/turn/secrets/new", { value: VALUE });
    const state = (rows) => rows.map(({ name, key_id, opens }) => [name, key_id, opens]);
    assert.deepEqual(state(await list("turn")), [["new", NEXT_ID, true], ["old", KEY_ID, true]]);
    await restartWith({ TOLLGATE_SECRETS_KEY_PREVIOUS: undefined });
    const rows = await list("turn");
    assert.deepEqual(state(rows), [["new", NEXT_ID, true], ["old", KEY_ID, false]]);
    assert.match(rows[1].problem, new RegExp(`sealed with the key ${KEY_ID}.*TOLLGATE_SECRETS_KEY_PREVIOUS`));
    await site.manage("PUT", "/tenants/turn/secrets/old", { value: VALUE });
    assert.deepEqual(state(await list("turn")), [["new", NEXT_ID, true], ["old", NEXT_ID, true]]);
    await restartWith({ TOLLGATE_SECRETS_KEY: KEY });
  });

  for (const [key, told] of [[undefined, /TOLLGATE_SECRETS_KEY is not set/], ["short", /TOLLGATE_SECRETS_KEY must be 32 random bytes/]]) {
    test(`${key === undefined ? "unset" : "no key"}: nothing is put, shown or deleted`, async () => {
      await site.tenant("unset");
      await restartWith({ TOLLGATE_SECRETS_KEY: key });
      for (const [method, route, body] of [["GET", ""], ["PUT", "/a", { value: VALUE }], ["DELETE", "/a"]]) {
        const error = refused(await site.admin(method, `/tenants/unset/secrets${route}`, body), FAILURES.notConfigured);
        assert.match(error.message, told);
      }
      const ready = await call(`${site.url}/readyz`);
      assert.equal(ready.status, key === undefined ? 200 : 503);
      assert.equal(/TOLLGATE_SECRETS_KEY/.test(ready.text), key !== undefined);
      assert.ok(!ready.text.includes(SECRETS.SIMULATED_API_KEY));
      await restartWith({ TOLLGATE_SECRETS_KEY: KEY });
    });
  }
});

describe("a tenant's provider", () => {
  const mine = { base_url: "https://llm.example.com/v1", format: "openai", keys: ["a"] };
  const put = (providers) => site.admin("PUT", "/tenants/own/config", { providers });

  test("is refused where it may lead inside, or to another's key", async () => {
    await site.tenant("own");
    const hosts = [
      "http://llm.example.com/v1", "https://127.0.0.1/v1", "https://127.1/v1", "https://0x7f000001/", "https://2130706433", "https://[::1]/v1",
      "https://localhost/v1", "https://localhost./v1", "https://metadata.google.internal/v1", "https://a.local", "https://a@llm.example.com/v1",
      "https://evil#.openai.azure.com/", "https://llm.example.com:22/v1", "https://llm.example.com/v1/", "https://llm.example.com/../v1",
      "https://{OPENAI_API_KEY}.example.com/v1", "https://llm.example.com/v1?a=", "ftp://llm.example.com", "//llm.example.com", "",
    ];
    for (const base_url of hosts) refused(await put({ mine: { ...mine, base_url } }), FAILURES.field("providers.mine.base_url"));
    // The operator's key is for the operator's address.
    refused(await put({ simulated: { base_url: mine.base_url } }), FAILURES.field("providers.simulated.keys"));
    refused(await put({ simulated: { format: "anthropic" } }), FAILURES.field("providers.simulated.format"));
    refused(await put({ mine: { keys: ["a"] } }), FAILURES.field("providers.mine.base_url"));
    refused(await put({ mine: { ...mine, keys: ["A"] } }), FAILURES.field("providers.mine.keys[0]"));
    refused(await put({ Mine: mine }), FAILURES.field("providers.Mine"));
  });

  test("is listed with its models, and priced by its own price", async () => {
    const tenant = await site.tenant("listed");
    const price = { input_usd_per_mtok: "1", output_usd_per_mtok: "2" };
    const providers = { mine: { ...mine, default_price: price, models: ["tiny"] }, unpriced: { ...mine, models: ["tiny"] } };
    await site.manage("PUT", "/tenants/listed/config", { providers, models: { small: { target: "mine/tiny" } } });
    const names = (await tenant.get("/v1/models")).json.data.map(({ id }) => id);
    assert.ok(names.includes("mine/tiny") && names.includes("small") && !names.includes("unpriced/tiny"), names.join());
    assert.equal((await tenant.get("/v1/models/mine/tiny")).status, 200);
    const other = await site.tenant("other");
    assert.equal((await other.get("/v1/models/mine/tiny")).status, 404);
  });
});
