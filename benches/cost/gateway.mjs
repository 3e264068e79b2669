// The same requests through the running gateway, once for each way to route them: a tenant each.
import http from "node:http";
import { openSite } from "../../tests/gateway/site.mjs";
import { makeStore } from "../gateway/paths.mjs";
import { atEnd } from "../gateway/processes.mjs";
import { cost, nano } from "./prices.mjs";

const CONNECTIONS = 8;
const CHARACTERS_PER_TOKEN = 4;
/** Nobody's money runs out, and every request is remembered as long as the run takes. */
const BUDGET = { id: "all", limit_usd: "1000000", period: "total" };
const CACHE = { enabled: true, ttl_s: 86_400 };

/** A body as long as its tokens make it; the provider is told how many it is to count. */
function bodyOf({ input, output, same }) {
  const head = `[usage ${input} ${output}] request ${same}. `;
  const text = head.padEnd(input * CHARACTERS_PER_TOKEN, "The quick brown fox jumps over the lazy dog. ");
  return JSON.stringify({ model: "chat", messages: [{ role: "user", content: text }] });
}

function post(agent, url, key, body) {
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json", "content-length": Buffer.byteLength(body) };
  return new Promise((resolve, reject) => {
    const request = http.request(`${url}/v1/chat/completions`, { method: "POST", agent, headers }, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("end", () => {
        const text = Buffer.concat(parts).toString();
        if (response.statusCode === 200) resolve(response.headers["x-tollgate-cache"]);
        else reject(new Error(`a request was answered ${response.statusCode}: ${text.slice(0, 300)}`));
      });
      response.on("error", reject);
    });
    request.on("error", reject);
    request.end(body);
  });
}

/** Sends all, some at a time. Resolves to how many were answered from the store. */
async function send(url, key, requests) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  let [next, hits] = [0, 0];
  const client = async () => {
    while (next < requests.length) {
      const body = bodyOf(requests[next++]);
      if ((await post(agent, url, key, body)) === "hit") hits += 1;
    }
  };
  try {
    await Promise.all(Array.from({ length: CONNECTIONS }, client));
  } finally {
    agent.destroy();
  }
  return hits;
}

const causesOf = (row) => Object.fromEntries(Object.entries(row.by_cause).map(([cause, text]) => [cause, nano(text)]));
const sum = (amounts) => amounts.reduce((all, amount) => all + amount, 0n);

/** Reads a tenant's savings ledger; every row of it must add up. */
function ledgerOf({ data, totals, truncated }) {
  if (truncated) throw new Error("the savings ledger was cut short");
  for (const row of [...data, totals]) {
    const [actual, saved, counterfactual] = [row.actual_usd, row.saved_usd, row.counterfactual_usd].map(nano);
    const causes = sum(Object.values(causesOf(row)));
    if (actual + saved !== counterfactual || causes !== saved) {
      throw new Error(`the savings ledger does not add up: ${JSON.stringify(row)}`);
    }
  }
  for (const field of ["actual_usd", "counterfactual_usd"]) {
    if (sum(data.map((row) => nano(row[field]))) !== nano(totals[field])) throw new Error(`its ${field} are not their total`);
  }
  return { requests: totals.requests, actual: nano(totals.actual_usd), counterfactual: nano(totals.counterfactual_usd), by: causesOf(totals) };
}

/**
 * Sends the requests along each way, and compares the ledger's figures with those of the provider's journal.
 *
 * @param {object} run
 * @param {{name: string, model: object, cache: boolean}[]} run.ways
 * @param {object[]} run.requests
 * @param {string} run.baseline
 * @param {Record<string, object>} run.prices  by model, for the comparison
 * @param {(text: string) => void} run.say
 */
export async function measure({ ways, requests, baseline, prices, say }) {
  const store = makeStore();
  atEnd(store.remove);
  // The catalogue's own provider, at the simulated one's address: so its prices are the catalogue's.
  const site = await openSite({
    env: { OPENAI_API_KEY: "simulated", TOLLGATE_LOG: "errors" },
    fromSimulator: (url) => ({ OPENAI_BASE_URL: `${url}/v1` }),
    simulator: ["--ttft-ms", "0", "--itl-ms", "0", "--journal", String(Math.min(100_000, requests.length + 1_000))],
    stateDir: store.path,
  });
  atEnd(() => site.close());
  const results = [];
  for (const [n, way] of ways.entries()) {
    say(`${way.name}: ${requests.length} requests`);
    await fetch(`${site.simulator.url}/journal`, { method: "DELETE" });
    const config = {
      budgets: [BUDGET], models: { chat: way.model }, savings: { baseline }, decisions: { sample_per_mille: 0 },
      ...(way.cache && { cache: CACHE }),
    };
    const tenant = await site.tenant(`cost-${n}`, config);
    const hits = await send(site.url, tenant.key, requests);
    await tenant.settled(30_000);
    const ledger = ledgerOf(await site.manage("GET", `/tenants/${tenant.id}/savings`));
    const journal = await site.journal();
    results.push({ name: way.name, hits, ...ledger, ...compared({ ledger, journal, requests, hits, prices, baseline }) });
  }
  return results;
}

/** What was asked and what it costs by the price list: the ledger must say the same. */
function compared({ ledger, journal, requests, hits, prices, baseline }) {
  if (journal.some(({ ended, usage }) => ended !== "done" || usage === null)) throw new Error("the provider did not answer all");
  const asked = {};
  let actual = 0n;
  for (const { model, usage } of journal) {
    if (!prices[model]) throw new Error(`${model} was asked, which is not in the pool`);
    asked[model] = (asked[model] ?? 0) + 1;
    actual += cost(prices[model], usage);
  }
  const counterfactual = sum(
    requests.map(({ input, output }) => cost(prices[baseline.split("/")[1]], { prompt: input, cached: 0, completion: output })),
  );
  const pairs = [
    ["requests", ledger.requests, requests.length],
    ["requests that were sent", journal.length, requests.length - hits],
    ["the actual cost", ledger.actual, actual],
    ["the baseline's cost", ledger.counterfactual, counterfactual],
  ];
  for (const [what, of, independent] of pairs) {
    if (of !== independent) throw new Error(`${what}: the ledger has ${of}, by journal and price list it is ${independent}`);
  }
  return { asked };
}
