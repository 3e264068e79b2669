// What goes out to providers and what comes back from them, beside the bodies: headers by two short lists, and
// no request that goes in circles.
import assert from "node:assert/strict";
import net from "node:net";
import { after, before, test } from "node:test";
import { call } from "./call.mjs";
import { ONCE, SECRETS, ask, openSite } from "./site.mjs";

const default_price = { input_usd_per_mtok: "0.50", output_usd_per_mtok: "1.50" };

let site;
let tenant;

async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

before(async () => {
  // A gateway that has itself as a provider, with a key of its own.
  const port = await freePort();
  const self = `127.0.0.1:${port}`;
  site = await openSite({
    gateway: { port },
    providers: () => ({ self: { base_url: `http://${self}/v1`, api_key_env: "SELF_KEY", default_price } }),
  });
  tenant = await site.tenant("round", { models: { round: { target: "self/round" } }, retry: ONCE, breaker: { enabled: false } });
  await site.gateway.stop();
  site.options.env.TOLLGATE_PLAIN_HTTP_HOSTS += `,${self}`;
  site.options.env.SELF_KEY = tenant.key;
  await site.start();
});

after(() => site?.close());

test("a request that comes round to the gateway is stopped at the fourth time", async () => {
  const answer = await tenant.chat({ ...ask("x"), model: "round" });
  assert.equal(answer.status, 502, answer.text);
  assert.match(JSON.parse(answer.text).error.attempts.join(), /self: status 502/);
  const codes = site.log.filter((line) => line.includes('"event":"request"')).map((line) => JSON.parse(line).code);
  assert.equal(codes.filter((code) => code === "loop_detected").length, 1, codes.join());
  assert.equal(codes.filter((code) => code === "upstream_error").length, 3, codes.join());
  await tenant.settled();
});

test("who says how often a request was passed on is believed, and nonsense is refused", async () => {
  for (const [hops, status, code] of [["2", 200], ["3", 508, "loop_detected"], ["99999999999", 508, "loop_detected"], ["x", 400, "invalid_request"], ["-1", 400, "invalid_request"]]) {
    const answer = await tenant.chat(ask("sim-small-l0"), { headers: { "x-tollgate-hops": hops } });
    assert.deepEqual([answer.status, JSON.parse(answer.text).error?.code], [status, code], hops);
  }
  assert.equal((await site.journal({ model: "sim-small-l0" })).length, 1);
});

const MINE = {
  cookie: "session=5",
  "x-forwarded-for": "203.0.113.9",
  forwarded: "for=203.0.113.9",
  "cf-connecting-ip": "203.0.113.9",
  "x-api-key-of-mine": "s",
  referer: "https://intra.example/",
  "user-agent": "mine/1",
  "openai-organization": "org-1",
  "openai-beta": "assistants=v2",
  "anthropic-beta": "context-1m",
  "anthropic-version": "2023-06-01",
  "x-tollgate-metadata": '{"team":"a"}',
  traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
};

for (const [name, model, own, foreign] of [
  ["Chat Completions", "simulated/sim-head-a", ["openai-organization", "openai-beta"], /^anthropic-/],
  ["Messages", "simulated-anthropic/sim-head-b", ["anthropic-beta", "anthropic-version"], /^openai-/],
]) {
  test(`a provider of ${name} gets its makers' headers, and nothing else of the caller's`, async () => {
    const headers = { ...MINE, authorization: `Bearer ${tenant.key}`, "content-type": "application/json" };
    const answer = await call(`${site.url}/v1/chat/completions`, { method: "POST", headers, body: { ...ask(""), model } });
    assert.equal(answer.status, 200, answer.text);
    const [entry] = await site.journal({ model: model.split("/")[1] });
    const sent = new Map(Object.entries(entry.headers).map(([key, value]) => [key.toLowerCase(), value]));
    const same = model.startsWith("simulated/") ? own : ["anthropic-version"];
    for (const header of same) assert.equal(sent.get(header), MINE[header], header);
    assert.ok(![...sent.keys()].some((header) => foreign.test(header)));
    const known = ["host", "connection", "content-type", "content-length", "accept-encoding", "x-tollgate-hops", "authorization", "x-api-key", "accept", ...own];
    assert.deepEqual([...sent.keys()].filter((header) => !known.includes(header)), []);
    assert.doesNotMatch(JSON.stringify([...sent]), /tg_|203\.0\.113|session=5/);
  });
}

test("of a provider's headers the caller gets two", async () => {
  const plain = await tenant.chat(ask("sim-back-l0"));
  const stream = await tenant.chat(ask("sim-back-i0", { stream: true }));
  for (const { status, headers } of [plain, stream]) {
    assert.equal(status, 200);
    assert.deepEqual([headers["openai-version"], headers["openai-processing-ms"]], ["2020-10-01", "1"]);
    // The provider's own: it sends these too.
    assert.equal(headers["set-cookie"], undefined);
    assert.notEqual(headers["x-ratelimit-limit-requests"], "10000");
    assert.match(headers["x-request-id"], /^[0-9A-HJKMNP-TV-Z]{26}$/);
    assert.ok(!JSON.stringify(headers).includes(SECRETS.SIMULATED_API_KEY));
  }
});
