// What a caller can do wrong: each gets the contract's answer, costs nothing, and harms nobody.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { call, until } from "./call.mjs";
import { FAILURES, assertFailure, assertNoSecret } from "./failure.mjs";
import { SECRETS, ask, openSite, usd, worstCase } from "./site.mjs";

const FIVE_MB = 5 * 1024 * 1024;
const OPERATOR = `Bearer ${SECRETS.TOLLGATE_ADMIN_TOKEN}`;
const good = ask("sim-small-l0");
const text = JSON.stringify(good);

let site;
/** Asks badly and nothing else, so whatever is held or spent in its name is a fault. */
let acme;
/** Asks well, to show that the worker lives. */
let rival;

before(async () => {
  const unpriced = (url) => ({ unpriced: { base_url: `${url}/v1`, api_key_env: "SIMULATED_API_KEY" } });
  site = await openSite({ providers: unpriced });
  [acme, rival] = await Promise.all([site.tenant("acme"), site.tenant("rival")]);
});

after(async () => {
  if (site) await site.close();
});

afterEach(async () => {
  const { held_usd: held, spent_usd: spent } = await acme.budget();
  assert.deepEqual([held, spent], ["0", "0"]);
  assert.deepEqual(await site.journal({ contains: "bad input" }), []);
  // Nobody starts the process again, so it is still the same.
  assert.equal((await rival.chat(good)).status, 200);
  for (const line of site.log) {
    assertNoSecret(line, [acme.key, rival.key]);
    assert.doesNotMatch(line, /panick|RuntimeError|object_failed|Uncaught/);
  }
});

const refused = (answer, expected) => assertFailure(answer, expected, [acme.key, rival.key, "rival"]);
const chat = (body, options) => acme.chat(body, options);
/** The good request with a mark, by which it would be found at the provider. */
const marked = (more) => ({ ...good, user: "bad input", ...more });
const get = (route, headers = {}) => call(site.url + route, { headers });
const bearer = (key) => ({ authorization: `Bearer ${key}` });

describe("the body", () => {
  for (const body of ["", "{", "nul", `${text} x`, `{"model":"a","messages":[{}],}`, Buffer.from('{"model":"\xff"}', "latin1")]) {
    test(`not JSON: ${JSON.stringify(String(body))}`, async () => refused(await chat(body), FAILURES.json));
  }

  for (const body of ["[]", '"a"', "5", "null", "true"]) {
    test(`no object: ${body}`, async () => refused(await chat(body), { ...FAILURES.json, code: "invalid_request" }));
  }

  const model = good.model;
  const wrong = {
    model: [undefined, null, 5, {}, [], true, "", "x".repeat(257), "a\u0000b"],
    messages: [undefined, null, "hi", 5, {}, [], true],
    stream: ["yes", 1, [], {}],
    max_tokens: ["ten", -1, 0, 1.5, [], 10_000_001, true],
    max_completion_tokens: ["ten", -1, 0, 1.5, {}, 10_000_001],
    n: ["two", 0, -1, 1.5, 129, []],
    stream_options: [{}, [], "x"],
  };
  for (const [param, values] of Object.entries(wrong)) {
    test(`${param} is wrong`, async () => {
      for (const value of values) refused(await chat(marked({ [param]: value })), FAILURES.field(param));
    });
  }

  test("stream_options of the wrong type", async () => {
    for (const value of [[], "x", 5]) {
      refused(await chat(marked({ stream: true, stream_options: value })), FAILURES.field("stream_options"));
    }
  });

  test("a field that is given twice", async () => {
    const twice = `{"user":"bad input","model":"${model}","model":"${model}","messages":[{"role":"user","content":"x"}]}`;
    refused(await chat(twice), FAILURES.field("model"));
    refused(await chat(twice.replace('"model"', '"max_tokens":5,"max_tokens":5,"mode"')), FAILURES.field("max_tokens"));
  });

  test("too large, with and without a length", async () => {
    const body = JSON.stringify(marked({ filling: "x".repeat(FIVE_MB) }));
    refused(await chat(body), FAILURES.tooLarge);
    refused(await chat(body, { chunked: true }), FAILURES.tooLarge);
  });

  test("compressed", async () => {
    for (const encoding of ["gzip", "br", "deflate", "gzip, identity"]) {
      refused(await chat(gzipSync(text), { headers: { "content-encoding": encoding } }), FAILURES.encoding);
    }
    // Compressed and not said so: bytes that are no JSON.
    refused(await chat(gzipSync(text)), FAILURES.json);
  });

  test("of another type, or of none", async () => {
    const form = "application/x-www-form-urlencoded";
    const types = ["text/plain", form, "multipart/form-data; boundary=x", "application/jsonx", "", undefined];
    for (const type of types) {
      const headers = { ...bearer(acme.key), ...(type !== undefined && { "content-type": type }) };
      refused(await call(`${site.url}/v1/chat/completions`, { headers, body: text }), FAILURES.mediaType);
    }
  });
});

describe("the model", () => {
  for (const model of ["no-such-alias", "nobody/gpt", "simulated/", "/sim-small"]) {
    test(`there is no ${model}`, async () => refused(await chat(marked({ model })), FAILURES.modelNotFound));
  }

  test("a provider that is only named like one", async () => {
    for (const model of ["constructor/x", "__proto__/x", "Simulated/sim-small", "simulated/sim-small\u2028x/../.."]) {
      const answer = await chat(marked({ model, stream: true, messages: [] }));
      refused(answer, FAILURES.field("messages"));
    }
    refused(await chat(marked({ model: "__proto__/x" })), FAILURES.modelNotFound);
    refused(await chat(marked({ model: "Simulated/sim-small" })), FAILURES.modelNotFound);
  });

  test("its price is unknown", async () => {
    refused(await chat(marked({ model: "unpriced/sim-small" })), FAILURES.priceUnknown);
  });
});

describe("options in headers", () => {
  const wrong = {
    "x-tollgate-cache": ["maybe", "USE", "use, skip"],
    "x-tollgate-cache-ttl": ["0", "-1", "1.5", "soon", "2592001", "99999999999999999999"],
    "x-tollgate-dry-run": ["1", "yes", "TRUE"],
    "x-tollgate-timeout-ms": ["0", "-5", "1.5", "1s", "3600001"],
    "x-tollgate-max-cost-usd": ["-1", "1e3", "abc", "$5", "0.1.2", "1,5"],
  };
  for (const [name, values] of Object.entries(wrong)) {
    test(name, async () => {
      for (const value of values) refused(await chat(marked(), { headers: { [name]: value } }), FAILURES.field(name));
    });
  }

  test("a cap below what the request may cost", async () => {
    const cap = (amount) => ({ headers: { "x-tollgate-max-cost-usd": usd(amount) } });
    refused(await chat(marked(), cap(worstCase(marked()) - 1)), FAILURES.maxCost);
    refused(await chat(marked(), cap(0)), FAILURES.maxCost);
    assert.equal((await rival.chat(good, cap(worstCase(good)))).status, 200);
  });
});

describe("the key", () => {
  /** Keys that open nothing; the tenant of the last ones exists. */
  const bad = () => {
    const key = acme.key;
    const other = key.endsWith("a") ? "b" : "a";
    return {
      "an OpenAI key": "sk-proj-0123456789",
      "only the prefix": "tg_",
      "no secret": "tg_acme_",
      "a capital in the tenant": key.replace("acme", "Acme"),
      "cut short": key.slice(0, -1),
      "one character more": `${key}0`,
      "bad checksum": key.slice(0, -1) + other,
      "another tenant's name": key.replace("acme", "rival"),
      "the operator's token": SECRETS.TOLLGATE_ADMIN_TOKEN,
      "two keys": `${key}, Bearer ${rival.key}`,
      "much too long": `tg_acme_${"0".repeat(8000)}`,
    };
  };

  test("malformed, on every route that wants one", async () => {
    for (const [name, key] of Object.entries(bad())) {
      for (const form of [bearer(key), { "x-api-key": key }]) {
        const headers = { ...form, "content-type": "application/json" };
        refused(await call(`${site.url}/v1/chat/completions`, { headers, body: marked() }), FAILURES.key);
        for (const route of ["/v1/models", "/v1/models/simulated/sim-small", "/v1/usage"]) {
          assert.ok(refused(await get(route, form), FAILURES.key), name);
        }
      }
    }
  });

  test("missing, or not where it belongs", async () => {
    const key = acme.key;
    for (const headers of [
      {}, { authorization: "" }, { authorization: "Bearer" }, { authorization: "Bearer " }, { authorization: key },
      { authorization: `Basic ${Buffer.from(`:${key}`).toString("base64")}` }, { authorization: `Bearer "${key}"` },
      { authorization: [`Bearer ${key}`, `Bearer ${key}`] }, { "api-key": key }, { cookie: `key=${key}` }, bearer(`Bearer ${key}`),
    ]) {
      refused(await get("/v1/models", headers), FAILURES.key);
    }
    refused(await get(`/v1/models?key=${key}`), FAILURES.key);
  });

  test("in the other header it works too, and a wrong one is not overruled", async () => {
    assert.equal((await get("/v1/usage", { "x-api-key": acme.key })).status, 200);
    assert.equal((await get("/v1/usage", { authorization: `bearer  ${acme.key}` })).status, 200);
    refused(await get("/v1/usage", { "x-api-key": acme.key, ...bearer("sk-wrong") }), FAILURES.key);
  });

  test("unknown, revoked, expired", async () => {
    const brief = await site.tenant("brief");
    const gone = await site.tenant("gone");
    await site.manage("DELETE", "/tenants/gone");
    await site.manage("DELETE", "/tenants/brief");
    const again = await site.tenant("brief");
    const revoked = await again.newKey();
    await site.manage("DELETE", `/tenants/brief/keys/${revoked.id}`);
    const expires = new Date(Date.now() + 1000).toISOString();
    const short = await again.newKey({ expires_at: expires });
    assert.equal((await again.get("/v1/usage", short.key)).status, 200);
    await until("the key expires", async () => (await again.get("/v1/usage", short.key)).status === 401);
    assert.ok(new Date() >= new Date(expires));
    for (const key of [gone.key, brief.key, revoked.key, short.key]) {
      refused(await chat(marked(), { key }), FAILURES.key);
      // Who may not ask learns nothing else.
      refused(await chat("{", { key }), FAILURES.key);
      refused(await chat(marked({ model: "nobody/x" }), { key }), FAILURES.key);
      refused(await chat(marked(), { key, headers: { "x-tollgate-cache": "maybe" } }), FAILURES.key);
      for (const route of ["/v1/models", "/v1/models/simulated/sim-small", "/v1/usage"]) {
        refused(await get(route, bearer(key)), FAILURES.key);
      }
    }
    assert.equal((await again.chat(good)).status, 200);
  });
});

describe("paths and methods", () => {
  const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
  const routes = {
    "/v1/chat/completions": "POST",
    "/v1/models": "GET",
    "/v1/models/simulated/sim-small": "GET",
    "/v1/usage": "GET",
    "/healthz": "GET",
    "/readyz": "GET",
    "/admin/v1/tenants": "GET",
    "/admin/v1/tenants/acme": "GET, PUT, DELETE",
    "/admin/v1/tenants/acme/config": "GET, PUT",
    "/admin/v1/tenants/acme/keys": "GET, POST",
    "/admin/v1/tenants/acme/keys/key_x": "GET, PATCH, DELETE",
    "/admin/v1/tenants/acme/violations": "GET",
    "/admin/v1/tenants/acme/usage": "GET",
    "/admin/v1/tenants/acme/limits": "GET",
    "/admin/v1/tenants/acme/budgets": "GET",
    "/admin/v1/fleet": "GET",
  };
  for (const [route, allow] of Object.entries(routes)) {
    test(`${route} answers only to ${allow}`, async () => {
      for (const method of METHODS.filter((one) => !allow.split(", ").includes(one) && one !== "HEAD")) {
        const authorization = route.startsWith("/admin") ? OPERATOR : `Bearer ${acme.key}`;
        const answer = await call(site.url + route, { method, headers: { authorization } });
        refused(answer, { ...FAILURES.method, admin: !route.startsWith("/v1/") });
        assert.equal(answer.headers.allow, allow);
      }
      // HEAD is GET without the body.
      const authorization = route.startsWith("/admin") ? OPERATOR : `Bearer ${acme.key}`;
      const asked = allow.includes("GET") ? await call(site.url + route, { method: "GET", headers: { authorization } }) : { status: 405 };
      const head = await call(site.url + route, { method: "HEAD", headers: { authorization } });
      assert.deepEqual([head.status, head.text], [asked.status, ""]);
    });
  }

  const unknown = [
    "/", "/v1", "/v1/", "/v1/nothing", "/v1/models/", "/v1/chat/completions/", "/v1/chat/Completions", "/V1/models", "/healthz/",
    "//v1/models", "/v1//models", "/v1/%6dodels", "/%761/models", "/v1/models%2f", "/v1/chat%2fcompletions", "/admin", "/adminv1/tenants",
    "//admin/v1/tenants", "/%61dmin/v1/tenants", "/v1/;/models",
  ];
  for (const path of unknown) {
    test(`there is no ${path}`, async () => {
      const expected = { ...FAILURES.noPath, admin: !path.startsWith("/v1/") };
      // With both credentials: neither opens a path by another spelling.
      for (const headers of [{}, bearer(acme.key), { authorization: OPERATOR }]) refused(await get(path, headers), expected);
      refused(await call(site.url + path, { headers: bearer(acme.key), body: marked() }), expected);
    });
  }

  test("below /admin nothing is told without the token, not even what exists", async () => {
    const wrong = [{}, bearer(acme.key), bearer("wrong"), bearer(""), { authorization: SECRETS.TOLLGATE_ADMIN_TOKEN }];
    for (const below of ["", "v1/tenants", "v1/tenants/acme", "v1/tenants/rival", "v1/nothing", "v2"]) {
      const path = `/admin/${below}`;
      for (const headers of wrong) {
        for (const method of ["GET", "POST", "DELETE"]) {
          refused(await call(site.url + path, { method, headers }), FAILURES.operator);
        }
      }
      const unknown = !below.startsWith("v1/tenants");
      if (unknown) refused(await get(path, { authorization: OPERATOR }), { ...FAILURES.noPath, admin: true });
    }
  });
});

test("a caller's own request id is kept beside ours", async () => {
  const answer = await chat("{", { headers: { "x-request-id": "theirs-1" } });
  refused(answer, FAILURES.json);
  assert.equal(answer.headers["x-client-request-id"], "theirs-1");
});

// Answers are copies of a template: what one of them adds must not show in the next.
test("what one answer's headers say, the next one's do not", async () => {
  for (const body of [good, "{"]) {
    const first = await rival.chat(body, { headers: { "x-request-id": "theirs-2" } });
    const next = await rival.chat(body);
    assert.equal(first.headers["x-client-request-id"], "theirs-2");
    assert.equal(next.headers["x-client-request-id"], undefined);
    assert.notEqual(next.headers["x-request-id"], first.headers["x-request-id"]);
    assert.equal(next.status, first.status);
  }
});
