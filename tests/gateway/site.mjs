// A gateway of one's own, with a simulated provider beside it and fresh state.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { startGateway } from "../../scripts/lib/local.mjs";
import { ROOT, startSimulator, withSimulator } from "../../scripts/lib/stack.mjs";
import { call, until } from "./call.mjs";

/** What must never be seen outside; each is long enough to be recognised anywhere. */
export const SECRETS = {
  TOLLGATE_ADMIN_TOKEN: "operator-5f0c1d7e92",
  TOLLGATE_KEY_PEPPER: "pepper-8a41bb06c3",
  SIMULATED_API_KEY: "sk-provider-77d0e2a9",
};
/** Of the provider `simulated`, in nano-dollars for a token. */
export const PRICE = { input: 500, output: 1500 };
/** For tests that count what a provider is asked: a failed attempt is not repeated at the same target. */
export const ONCE = { same_target: 0 };

/** Nano-dollars as the gateway writes them. */
export function usd(nano) {
  const text = (BigInt(nano) % 1_000_000_000n).toString().padStart(9, "0").replace(/0+$/, "");
  return `${BigInt(nano) / 1_000_000_000n}${text && `.${text}`}`;
}

/** Nano-dollars of a decimal string. */
export function nano(text) {
  const [whole, part = ""] = text.split(".");
  return Number(whole) * 1e9 + Number(part.padEnd(9, "0"));
}

/** A chat request whose model at the simulated provider is `model`. */
export const ask = (model, more = {}) => ({
  model: `simulated/${model}`,
  messages: [{ role: "user", content: "Hello" }],
  max_tokens: 100,
  ...more,
});

/** The most that a request can cost, in nano-dollars: no token is shorter than a byte. */
export const worstCase = (body) => Buffer.byteLength(JSON.stringify(body)) * PRICE.input + body.max_tokens * PRICE.output;

/**
 * @param {object} [options]
 * @param {Record<string, string | undefined>} [options.env]  variables; undefined unsets one. Cron checks no provider
 *   unless TOLLGATE_HEALTH_INTERVAL_S is set: tests count what providers are asked.
 * @param {(simulatorUrl: string) => object} [options.providers]  more providers
 * @param {(simulatorUrl: string) => object} [options.fromSimulator]  variables that name its address
 * @param {object} [options.gateway]  more options of startGateway
 * @param {string[]} [options.simulator]  more options of the simulated provider
 * @param {string} [options.stateDir]  folder for the state, removed at the end; one below the system's by default
 */
export async function openSite({ env = {}, providers = () => ({}), fromSimulator = () => ({}), gateway: more = {}, simulator: args = [], stateDir } = {}) {
  stateDir ??= await mkdtemp(path.join(os.tmpdir(), "tollgate-"));
  const simulator = await startSimulator({ args });
  const rows = JSON.stringify(providers(simulator.url));
  const rest = { ...SECRETS, TOLLGATE_LOG: "requests", TOLLGATE_HEALTH_INTERVAL_S: "0", ...fromSimulator(simulator.url), ...env };
  const vars = { ...withSimulator({ TOLLGATE_PROVIDERS: rows }, simulator.url), ...rest };
  const site = new Site(simulator, { bundleDir: path.join(ROOT, "build"), stateDir, env: vars, ...more });
  try {
    await site.start();
  } catch (error) {
    await site.close();
    throw error;
  }
  return site;
}

class Site {
  constructor(simulator, options) {
    this.simulator = simulator;
    this.options = options;
    this.log = [];
    this.gateway = null;
  }

  get url() {
    return this.gateway.baseUrl;
  }

  get stateDir() {
    return this.options.stateDir;
  }

  async start() {
    this.gateway = await startGateway({ ...this.options, onLog: (line) => this.log.push(line) });
  }

  /** A new process, which may ask this host without TLS. */
  async restartAllowing(host) {
    await this.gateway.stop();
    this.options.env.TOLLGATE_PLAIN_HTTP_HOSTS += `,${host}`;
    await this.start();
  }

  /** SIGKILL, and a new process on the same state. */
  async killAndRestart() {
    await this.gateway.kill();
    await this.start();
  }

  async close() {
    await Promise.all([this.gateway?.stop(), this.simulator.stop()]);
    await rm(this.options.stateDir, { recursive: true, force: true });
  }

  /** An admin request. Resolves to the answer with `json`. */
  async admin(method, route, body, headers = {}) {
    const all = { authorization: `Bearer ${SECRETS.TOLLGATE_ADMIN_TOKEN}`, ...headers };
    if (body !== undefined) all["content-type"] ??= "application/json";
    const answer = await call(`${this.url}/admin/v1${route}`, { method, headers: all, body });
    return { ...answer, json: answer.text ? JSON.parse(answer.text) : null };
  }

  /** An admin request that must succeed. Resolves to the answer's JSON. */
  async manage(method, route, body) {
    const answer = await this.admin(method, route, body);
    assert.ok(answer.status < 300, `${method} ${route}: ${answer.status} ${answer.text}`);
    return answer.json;
  }

  /** Creates a tenant with a key. Every tenant here has a budget, so that holds can be seen. */
  async tenant(id, config = {}) {
    const budgets = [{ id: "all", limit_usd: "1000", period: "total" }];
    await this.manage("PUT", `/tenants/${id}`, { config: { budgets, ...config } });
    return new Tenant(this, id, await this.manage("POST", `/tenants/${id}/keys`, { name: "first" }));
  }

  /** What the simulated provider saw; `query` as in its --help. */
  async journal(query = {}) {
    const answer = await call(`${this.simulator.url}/journal?${new URLSearchParams(query)}`);
    return JSON.parse(answer.text).requests;
  }

  /** Switches a fault of the simulated provider on or off; fields as in its --help. */
  async fault(fields) {
    const answer = await call(`${this.simulator.url}/control`, { method: "POST", body: fields });
    assert.equal(answer.status, 200, answer.text);
  }

  /** The newest request for a model, once it has ended there. */
  ended(model) {
    return until(`the provider's request for ${model} ends`, async () => {
      const [entry] = await this.journal({ model, limit: 1 });
      return entry?.ended_at_ms ? entry : null;
    });
  }
}

class Tenant {
  constructor(site, id, key) {
    Object.assign(this, { site, id, key: key.key, keyId: key.id });
  }

  /** A chat completion. `options` as of `call`, and `key`. */
  chat(body, { headers, key = this.key, ...options } = {}) {
    const all = { authorization: `Bearer ${key}`, "content-type": "application/json", ...headers };
    return call(`${this.site.url}/v1/chat/completions`, { method: "POST", ...options, headers: all, body });
  }

  /** `GET` with the tenant's key. */
  async get(route, key = this.key) {
    const answer = await call(`${this.site.url}${route}`, { headers: { authorization: `Bearer ${key}` } });
    return { ...answer, json: JSON.parse(answer.text) };
  }

  /** A further key. */
  newKey(options = {}) {
    return this.site.manage("POST", `/tenants/${this.id}/keys`, options);
  }

  /** The first budget as the key sees it. */
  async budget(key) {
    const answer = await this.get("/v1/usage", key);
    assert.equal(answer.status, 200, answer.text);
    return answer.json.budgets[0];
  }

  /** Waits until nothing is held any more, and resolves to the first budget. */
  settled(limitMs = 3000) {
    return until(`nothing of ${this.id} is held`, async () => {
      const { data, permits, orphaned_permits } = await this.site.manage("GET", `/tenants/${this.id}/budgets`);
      const open = permits + orphaned_permits + data.filter((budget) => budget.held_usd !== "0").length;
      return open === 0 && (await this.budget());
    }, limitMs);
  }

  /** The counters of the last hour. */
  async usage() {
    return (await this.site.manage("GET", `/tenants/${this.id}/usage`)).data;
  }
}
