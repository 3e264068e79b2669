// Which key a provider is asked with: several take turns, a bad one rests, a tenant's own go before the
// operator's, and a service account is exchanged for a token.
import assert from "node:assert/strict";
import { createPublicKey, generateKeyPairSync, verify } from "node:crypto";
import { createServer } from "node:http";
import { after, before, beforeEach, describe, test } from "node:test";
import { call } from "./call.mjs";
import { FAILURES, assertFailure } from "./failure.mjs";
import { openSite } from "./site.mjs";

const account = generateKeyPairSync("rsa", { modulusLength: 2048, privateKeyEncoding: { type: "pkcs8", format: "pem" }, publicKeyEncoding: { type: "spki", format: "pem" } });
const price = { input_usd_per_mtok: "0.5", output_usd_per_mtok: "1.5" };

/** A provider that says about a key what the test wants, and what it was asked with. */
const provider = {
  /** Key → [status, body, headers]; others are answered. */
  says: {},
  seen: [],
  tokens: [],
};
let server;
let site;

function answer(request, body) {
  const shown = request.headers.authorization ?? "";
  if (request.url === "/token") {
    provider.tokens.push(new URLSearchParams(body));
    return [200, { access_token: `ya29.token-${provider.tokens.length}`, expires_in: 3599, token_type: "Bearer" }];
  }
  const key = shown.replace(/^Bearer /, "");
  provider.seen.push(key);
  if (provider.says[key]) return provider.says[key];
  if (request.url.includes(":generateContent")) {
    const content = { role: "model", parts: [{ text: "Hi" }] };
    return [200, { candidates: [{ index: 0, finishReason: "STOP", content }], usageMetadata: { promptTokenCount: 1, candidatesTokenCount: 1, totalTokenCount: 2 } }];
  }
  const message = { role: "assistant", content: "Hi" };
  const usage = { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 };
  return [200, { id: "c", object: "chat.completion", created: 1, model: "m", choices: [{ index: 0, message, finish_reason: "stop" }], usage }];
}

before(async () => {
  server = createServer((request, response) => {
    let body = "";
    request.on("data", (part) => (body += part));
    request.on("end", () => {
      const [status, json, headers = {}] = answer(request, body);
      response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(json));
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const host = `127.0.0.1:${server.address().port}`;
  const row = (env, more) => ({ base_url: `http://${host}/v1`, api_key_env: env, default_price: price, ...more });
  site = await openSite({
    providers: () => ({
      one: row("ONE_KEY"),
      turns: row("TURNS_KEY"),
      broken: row("BROKEN_KEY"),
      busy: row("BUSY_KEY"),
      poor: row("POOR_KEY"),
      mixed: row("MIXED_KEY"),
      goog: row("GOOG_ACCOUNT", { format: "gemini", auth: "google" }),
    }),
    env: {
      TOLLGATE_PLAIN_HTTP_HOSTS: host,
      TOLLGATE_SECRETS_KEY: Buffer.alloc(32, 3).toString("base64"),
      TOLLGATE_GOOGLE_TOKEN_URLS: `http://${host}/token`,
      ONE_KEY: "sk-operator-one-000000",
      ...numbered("TURNS_KEY", ["sk-operator-turn-a", "sk-operator-turn-b", "sk-operator-turn-c"]),
      ...numbered("BROKEN_KEY", ["sk-operator-bad-0001", "sk-operator-good-01"]),
      ...numbered("BUSY_KEY", ["sk-operator-busy-a", "sk-operator-busy-b"]),
      ...numbered("POOR_KEY", ["sk-operator-poor-a", "sk-operator-rich-a"]),
      ...numbered("MIXED_KEY", ["sk-operator-sick-a", "sk-operator-sick-b"]),
      GOOG_ACCOUNT: JSON.stringify({
        type: "service_account", client_email: "a@p.iam.gserviceaccount.com", private_key_id: "kid1", private_key: account.privateKey,
        token_uri: `http://${host}/token`,
      }),
    },
  });
});

const numbered = (name, keys) => Object.fromEntries(keys.map((key, i) => [i === 0 ? name : `${name}_${i + 1}`, key]));

after(async () => {
  await site?.close();
  await new Promise((resolve) => server.close(resolve));
});

beforeEach(() => {
  provider.says = {};
  provider.seen.length = 0;
});

const ask = (name) => ({ model: `${name}/m`, messages: [{ role: "user", content: "Hello" }], max_tokens: 10 });
/** An error as a provider writes it, with the key in it. */
const quoting = (key) => ({ error: { message: `Incorrect API key provided: ${key}`, code: "invalid_api_key" } });
const keyLines = () => site.log.filter((line) => line.includes("provider_key_dead")).map((line) => JSON.parse(line));

describe("the operator's keys", () => {
  test("take turns", async () => {
    const tenant = await site.tenant("turns");
    for (let i = 0; i < 6; i++) assert.equal((await tenant.chat(ask("turns"))).status, 200);
    const [a, b, c, ...again] = provider.seen;
    assert.deepEqual([a, b, c].sort(), ["sk-operator-turn-a", "sk-operator-turn-b", "sk-operator-turn-c"]);
    assert.deepEqual(again, [a, b, c]);
  });

  test("one that is refused rests, another serves the same request, and it is told without being shown", async () => {
    const tenant = await site.tenant("broken");
    const bad = "sk-operator-bad-0001";
    provider.says[bad] = [401, quoting(bad)];
    const answers = [];
    for (let i = 0; i < 4; i++) answers.push(await tenant.chat(ask("broken")));
    assert.deepEqual(answers.map(({ status }) => status), [200, 200, 200, 200]);
    assert.equal(provider.seen.filter((key) => key === bad).length, 1);
    const [line, ...more] = keyLines().filter(({ provider: name }) => name === "broken");
    assert.deepEqual([line.key, line.last4, line.why, line.tenant, more.length], ["BROKEN_KEY", "0001", "refused", null, 0]);
    const ready = await call(`${site.url}/readyz`);
    assert.equal(ready.status, 200);
    const dead = JSON.parse(ready.text).checks.providers.dead_keys.filter((row) => row.provider === "broken");
    assert.deepEqual(dead.map(({ key, why }) => [key, why]), [["BROKEN_KEY", "refused"]]);
    const seen = [...answers, ready].map(({ headers, text }) => JSON.stringify(headers) + text).concat(site.log);
    assert.ok(!seen.some((text) => text.includes("sk-operator")));
    // The attempt with the dead key cost nothing.
    const budget = await tenant.settled();
    assert.equal(budget.spent_usd, (4 * (0.5 + 1.5) / 1e6).toFixed(6).replace(/0+$/, ""));
  });

  test("one without credit rests, by status or by what the error says", async () => {
    const tenant = await site.tenant("poor");
    provider.says["sk-operator-poor-a"] = [429, { error: { message: "You exceeded your current quota", code: "insufficient_quota" } }];
    for (let i = 0; i < 4; i++) assert.equal((await tenant.chat(ask("poor"))).status, 200);
    assert.equal(provider.seen.filter((key) => key === "sk-operator-poor-a").length, 1);
    assert.deepEqual(keyLines().filter((line) => line.provider === "poor").map(({ why }) => why), ["no_credit"]);
  });

  test("when all are throttled each is tried once, and the client is told to wait", async () => {
    // The breaker would leave the provider alone, too.
    const tenant = await site.tenant("busy", { breaker: { enabled: false } });
    for (const key of ["sk-operator-busy-a", "sk-operator-busy-b"]) provider.says[key] = [429, { error: { message: "slow down" } }, { "retry-after": "30" }];
    const first = await tenant.chat(ask("busy"));
    assertFailure(first, { ...FAILURES.upstream, retry: true });
    assert.deepEqual([...provider.seen].sort(), ["sk-operator-busy-a", "sk-operator-busy-b"]);
    // Both rest: the next request asks with the one whose rest ends first, and with no other.
    provider.seen.length = 0;
    await tenant.chat(ask("busy"));
    assert.equal(provider.seen.length, 1);
    // No key is dead, and the first that answers is well again.
    provider.says = {};
    assert.equal((await tenant.chat(ask("busy"))).status, 200);
    assert.deepEqual(keyLines().filter((line) => line.provider === "busy"), []);
  });

  test("an error that is not the key's fault is not tried with another", async () => {
    const tenant = await site.tenant("mixed");
    for (const key of ["sk-operator-sick-a", "sk-operator-sick-b"]) provider.says[key] = [400, { error: { message: "no", code: "bad" } }];
    assert.equal((await tenant.chat(ask("mixed"))).status, 400);
    assert.equal(provider.seen.length, 1);
  });
});

describe("a tenant's keys", () => {
  test("go before the operator's, for this tenant only, and a new one is used at once", async () => {
    const other = await site.tenant("other");
    const tenant = await site.tenant("own", { providers: { one: { keys: ["mine"] } } });
    await site.manage("PUT", "/tenants/own/secrets/mine", { value: "sk-tenant-first-0001" });
    assert.equal((await tenant.chat(ask("one"))).status, 200);
    assert.equal((await other.chat(ask("one"))).status, 200);
    await site.manage("PUT", "/tenants/own/secrets/mine", { value: "sk-tenant-second-002" });
    assert.equal((await tenant.chat(ask("one"))).status, 200);
    assert.deepEqual(provider.seen, ["sk-tenant-first-0001", "sk-operator-one-000000", "sk-tenant-second-002"]);
    // It survives the isolate: what is stored is opened again.
    await site.killAndRestart();
    assert.equal((await tenant.chat(ask("one"))).status, 200);
    assert.equal(provider.seen.at(-1), "sk-tenant-second-002");
  });

  test("missing or refused, the operator's are not used instead", async () => {
    const tenant = await site.tenant("alone", { providers: { one: { keys: ["mine"] } } });
    const missing = await tenant.chat(ask("one"));
    const error = assertFailure(missing, FAILURES.upstream);
    assert.match(JSON.stringify(error.attempts), /one: no API key is configured \(secret `mine` of the tenant\)/);
    assert.deepEqual(provider.seen, []);
    const key = "sk-tenant-wrong-9999";
    await site.manage("PUT", "/tenants/alone/secrets/mine", { value: key });
    provider.says[key] = [401, quoting(key)];
    const refused = await tenant.chat(ask("one"));
    assertFailure(refused, FAILURES.upstream, [key, "sk-operator"]);
    assert.deepEqual(provider.seen, [key]);
    const [line] = keyLines().filter((one) => one.tenant === "alone");
    assert.deepEqual([line.provider, line.key, line.last4, line.why], ["one", "mine", "9999", "refused"]);
    assert.ok(!site.log.some((text) => text.includes(key)));
    // Readiness is for the operator's: other tenants' names are nobody's business.
    assert.ok(!(await call(`${site.url}/readyz`)).text.includes("mine"));
  });
});

describe("a service account of Google", () => {
  const claims = (form) => {
    const [header, payload, signature] = form.get("assertion").split(".");
    const signed = verify("RSA-SHA256", Buffer.from(`${header}.${payload}`), createPublicKey(account.publicKey), Buffer.from(signature, "base64url"));
    return { signed, header: JSON.parse(Buffer.from(header, "base64url")), payload: JSON.parse(Buffer.from(payload, "base64url")) };
  };

  test("is exchanged for a token, which is used until it expires", async () => {
    const tenant = await site.tenant("goog");
    for (let i = 0; i < 3; i++) assert.equal((await tenant.chat(ask("goog"))).status, 200);
    assert.deepEqual(provider.seen, ["ya29.token-1", "ya29.token-1", "ya29.token-1"]);
    assert.equal(provider.tokens.length, 1);
    assert.equal(provider.tokens[0].get("grant_type"), "urn:ietf:params:oauth:grant-type:jwt-bearer");
    const { signed, header, payload } = claims(provider.tokens[0]);
    assert.ok(signed, "the signature holds");
    assert.deepEqual(header, { alg: "RS256", kid: "kid1", typ: "JWT" });
    assert.deepEqual([payload.iss, payload.exp - payload.iat], ["a@p.iam.gserviceaccount.com", 3600]);
    assert.ok(Math.abs(payload.iat - Date.now() / 1000) < 60 && payload.aud.endsWith("/token"));
  });

  test("a token that is refused is fetched anew", async () => {
    const tenant = await site.tenant("again");
    const [token] = [`ya29.token-${provider.tokens.length}`];
    provider.says[token] = [401, { error: { status: "UNAUTHENTICATED" } }];
    await tenant.chat(ask("goog"));
    assert.equal((await tenant.chat(ask("goog"))).status, 200);
    assert.equal(provider.seen.at(-1), `ya29.token-${provider.tokens.length}`);
    assert.notEqual(provider.seen.at(-1), token);
  });

  test("of a tenant cannot name another address for its token", async () => {
    const tenant = await site.tenant("steered", { providers: { goog: { keys: ["account"] } } });
    const asked = provider.tokens.length;
    const file = { client_email: "a", private_key: account.privateKey, token_uri: `http://127.0.0.1:${server.address().port}/token?x` };
    await site.manage("PUT", "/tenants/steered/secrets/account", { value: JSON.stringify(file) });
    const error = assertFailure(await tenant.chat(ask("goog")), FAILURES.upstream, [account.privateKey.slice(40, 80)]);
    assert.match(JSON.stringify(error.attempts), /`token_uri` is not/);
    assert.deepEqual([provider.tokens.length, provider.seen], [asked, []]);
  });
});
