// Service tiers: what is held is the dearest that a request may be served in, what is charged the one that the
// answer names.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { call, events } from "./call.mjs";
import { ask, nano, openSite, usd } from "./site.mjs";

const price = (input, output, more = {}) => ({ input_usd_per_mtok: input, output_usd_per_mtok: output, ...more });
const TIERED = price("1", "2", { flex: price("0.5", "1"), priority: price("3", "6", { cached_input_usd_per_mtok: "0.3" }) });
/** Nano-dollars for a token: input, output, input from the cache. */
const RATES = { default: [1000, 2000, 1000], flex: [500, 1000, 500], priority: [3000, 6000, 300] };

let site;
let tenant;

before(async () => {
  site = await openSite();
  const all = ["simulated", "simulated-responses", "simulated-anthropic", "simulated-gemini"];
  tenant = await site.tenant("tiered", { prices: Object.fromEntries(all.map((name) => [`${name}/*`, TIERED])) });
});

after(async () => {
  if (site) await site.close();
});

const cost = (tier, { input, output, cached = 0 }) => {
  const [fresh, out, read] = RATES[tier];
  return usd((input - cached) * fresh + cached * read + output * out);
};
const ofChat = ({ prompt_tokens: input, completion_tokens: output, prompt_tokens_details: more }) => ({ input, output, cached: more?.cached_tokens ?? 0 });
const ofResponses = ({ input_tokens: input, output_tokens: output }) => ({ input, output });

const post = (route, body, headers = {}) =>
  call(`${site.url}${route}`, { method: "POST", headers: { authorization: `Bearer ${tenant.key}`, "content-type": "application/json", ...headers }, body });
/** The price that a target was charged by last. */
async function lastPrice(target) {
  await tenant.settled();
  const { data } = await site.manage("GET", "/tenants/tiered/providers");
  return data.find((row) => row.target === target).seen.price;
}
const id = (provider, tier) => `tenant:${provider}/*${tier === "default" ? "" : `#${tier}`}`;

/** What is asked for, how the provider takes it, and what is served then. */
const CASES = [
  ["priority", "", "priority"],
  ["flex", "", "flex"],
  ["default", "", "default"],
  [undefined, "", "default"],
  // The provider has no room.
  ["priority", "-full", "default"],
  ["flex", "-full", "default"],
  // What is agreed with the provider decides.
  [undefined, "-rush", "priority"],
  ["auto", "-rush", "priority"],
  ["default", "-rush", "default"],
  // It does not say.
  ["priority", "-untold", "priority"],
  ["flex", "-untold", "default"],
  [undefined, "-untold", "default"],
];

for (const [asked, how, served] of CASES) {
  const name = `service_tier ${asked ?? "absent"}${how && `, ${how.slice(1)}`}: charged as ${served}`;
  test(`chat completions, ${name}`, async () => {
    const model = `sim-tier-l0-n20-r4${how}`;
    const body = ask(model, { service_tier: asked });
    const whole = await tenant.chat(body);
    assert.equal(whole.status, 200, whole.text);
    const told = JSON.parse(whole.text);
    assert.equal(whole.headers["x-tollgate-cost-usd"], cost(served, ofChat(told.usage)));
    assert.equal(await lastPrice(`simulated/${model}`), id("simulated", served));
    const before = nano((await tenant.settled()).spent_usd);
    const stream = await tenant.chat({ ...body, stream: true, stream_options: { include_usage: true } });
    const usage = events(stream.text).find((event) => event.usage)?.usage;
    assert.equal(usage.cost_usd, cost(served, ofChat(usage)));
    // Also where the client did not ask for usage.
    await tenant.chat({ ...body, stream: true });
    assert.equal(nano((await tenant.settled()).spent_usd) - before, 2 * nano(cost(served, ofChat(usage))));
  });
}

describe("other formats", () => {
  test("responses tell it beside the usage", async () => {
    for (const [asked, how, served] of CASES) {
      const model = `simulated-responses/sim-tier-l0-n20${how}`;
      const body = { model, input: "Hello", max_output_tokens: 100, service_tier: asked };
      const whole = await post("/v1/responses", body);
      assert.equal(whole.status, 200, whole.text);
      const { usage } = JSON.parse(whole.text);
      assert.equal(whole.headers["x-tollgate-cost-usd"], cost(served, ofResponses(usage)), `${asked} ${how}`);
      const before = nano((await tenant.settled()).spent_usd);
      await post("/v1/responses", { ...body, stream: true });
      assert.equal(nano((await tenant.settled()).spent_usd) - before, nano(cost(served, ofResponses(usage))), `${asked} ${how}`);
      assert.equal(await lastPrice(model), id("simulated-responses", served));
    }
  });

  test("Anthropic tells it within the usage", async () => {
    for (const [how, served] of [["", "default"], ["-rush", "priority"]]) {
      const model = `simulated-anthropic/sim-tier-l0-n20${how}`;
      const body = { model, messages: [{ role: "user", content: "Hello" }], max_tokens: 100, service_tier: "auto" };
      const whole = await post("/v1/messages", body);
      assert.equal(whole.status, 200, whole.text);
      const { usage } = JSON.parse(whole.text);
      assert.equal(whole.headers["x-tollgate-cost-usd"], cost(served, ofResponses(usage)));
      const before = nano((await tenant.settled()).spent_usd);
      await post("/v1/messages", { ...body, stream: true });
      assert.equal(nano((await tenant.settled()).spent_usd) - before, nano(cost(served, ofResponses(usage))));
      assert.equal(await lastPrice(model), id("simulated-anthropic", served));
    }
  });

  test("a translated answer tells it, too", async () => {
    const answer = await tenant.chat({ ...ask("x"), model: "simulated-anthropic/sim-tier-l0-n20-rush" });
    assert.equal(answer.headers["x-tollgate-cost-usd"], cost("priority", ofChat(JSON.parse(answer.text).usage)));
    const other = await post("/v1/messages", { model: "simulated/sim-tier-l0-n20-rush", messages: [{ role: "user", content: "Hi" }], max_tokens: 100 });
    assert.equal(other.headers["x-tollgate-cost-usd"], cost("priority", ofResponses(JSON.parse(other.text).usage)));
  });
});

describe("what is held", () => {
  const worst = async (body, route = "/v1/chat/completions") => {
    const answer = await post(route, body, { "x-tollgate-dry-run": "true" });
    assert.equal(answer.status, 200, answer.text);
    return nano(JSON.parse(answer.text).worst_case_usd);
  };
  const bytes = (body) => Buffer.byteLength(JSON.stringify(body));

  test("is the dearest tier that may be served", async () => {
    for (const [asked, tier] of [[undefined, "priority"], ["auto", "priority"], ["priority", "priority"], ["default", "default"], ["flex", "default"]]) {
      const body = ask("sim-held", { service_tier: asked });
      const [input, output] = RATES[tier];
      assert.equal(await worst(body), bytes(body) * input + 100 * output, `${asked}`);
    }
  });

  test("heeds what is asked for only where every target is told of it", async () => {
    await site.manage("PUT", "/tenants/tiered/config", {
      budgets: [{ id: "all", limit_usd: "1000", period: "total" }],
      prices: { "simulated/*": TIERED, "simulated-anthropic/*": TIERED, "simulated-gemini/*": TIERED },
      models: { mixed: { targets: ["simulated/sim-a", "simulated-anthropic/sim-b"] }, gemini: { target: "simulated-gemini/sim-c" } },
    });
    const mixed = { ...ask("x"), model: "mixed", service_tier: "default" };
    assert.equal(await worst(mixed), bytes(mixed) * 3000 + 100 * 6000);
    // A format in which no tier is asked for gives the usual one.
    const gemini = { ...ask("x"), model: "gemini" };
    assert.equal(await worst(gemini), bytes(gemini) * 1000 + 100 * 2000);
  });

  test("is what a budget must have", async () => {
    const body = ask("sim-poor-l0", { service_tier: "default" });
    const [input, output] = RATES.default;
    const limit = usd(bytes(body) * input + 100 * output);
    const poor = await site.tenant("poor", { budgets: [{ id: "all", limit_usd: limit, period: "total" }], prices: { "simulated/*": TIERED } });
    const { service_tier: _, ...any } = body;
    assert.equal((await poor.chat(any)).status, 402);
    assert.equal((await poor.chat(body)).status, 200);
  });
});
