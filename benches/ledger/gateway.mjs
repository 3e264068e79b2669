// What a request costs the tenant's object on the running gateway: how often it is called, and how many
// rows are written. Both are counted inside a copy of the built bundle (tests/gateway/spy.mjs).
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { linesOf } from "../../tests/gateway/books.mjs";
import { pause } from "../../tests/gateway/call.mjs";
import { tenantsOnDisk } from "../../tests/gateway/rows.mjs";
import { ask, openSite } from "../../tests/gateway/site.mjs";
import { counted, spiedBundle } from "../../tests/gateway/spy.mjs";
import { makeStore, root } from "../gateway/paths.mjs";
import { atEnd } from "../gateway/processes.mjs";

/** Loads, from as fast as it goes to a request now and then. `rate` is in requests per second. */
const LOADS = [
  { name: "16 connections, as fast as it goes", connections: 16 },
  { name: "200 requests/s", rate: 200 },
  { name: "50 requests/s", rate: 50 },
  { name: "10 requests/s", rate: 10 },
];
const SECONDS = 20;
/** Warms up credit, connections and compilers before anything is counted. */
const WARM_REQUESTS = 300;
/** Every part of the ledger works for each request, and none of it ever says no. */
const CONFIG = {
  limits: [{ id: "requests", requests: 1_000_000_000, window_s: 60 }],
  budgets: [{ id: "monthly", limit_usd: "1000000", period: "month" }],
};
const MODEL = "sim-l20-n9";

const sum = (counts) => Object.values(counts).reduce((all, n) => all + n, 0);
const less = (after, before) =>
  Object.fromEntries(Object.entries(after).map(([name, n]) => [name, n - (before[name] ?? 0)]).filter(([, n]) => n !== 0));

async function one(tenant) {
  const answer = await tenant.chat(ask(MODEL));
  if (answer.status !== 200 || answer.error) throw new Error(`a request answered ${answer.status ?? answer.error}: ${answer.text}`);
}

/** Each connection asks again as soon as it was answered. Resolves to how many requests there were. */
async function closed(tenant, connections, going) {
  let requests = 0;
  const client = async () => {
    for (; going(requests); ) {
      requests += 1;
      await one(tenant);
    }
  };
  await Promise.all(Array.from({ length: connections }, client));
  return requests;
}

/** Requests leave at their times, whether or not the ones before were answered. */
async function open(tenant, rate, seconds) {
  const begun = Date.now();
  const asked = [];
  while (asked.length < rate * seconds) {
    const due = Math.floor(((Date.now() - begun) / 1000) * rate) + 1;
    while (asked.length < Math.min(due, rate * seconds)) asked.push(one(tenant));
    await pause(Math.max(1, begun + (asked.length / rate) * 1000 - Date.now()));
  }
  await Promise.all(asked);
  return asked.length;
}

async function underLoad(site, tenant, { name, connections, rate }, seconds) {
  await closed(tenant, 16, (n) => n < WARM_REQUESTS);
  await tenant.settled();
  const before = await counted(site.url);
  const begun = Date.now();
  const requests = connections
    ? await closed(tenant, connections, () => Date.now() < begun + seconds * 1000)
    : await open(tenant, rate, seconds);
  const took = (Date.now() - begun) / 1000;
  // Settlements belong to it, and so do the counters that a snapshot writes.
  await tenant.settled();
  const after = await counted(site.url);
  const turns = less(after.turns, before.turns);
  // Asking whether all is settled is the benchmark's own doing, and writes nothing.
  delete turns.live;
  const rows = { ...less(after.rows, before.rows), alarm: after.alarms - before.alarms };
  return {
    name, requests, per_second: requests / took, calls: after.calls - before.calls, turns,
    alarms_rung: after.rings - before.rings, rows,
    calls_per_request: (after.calls - before.calls) / requests, rows_per_request: sum(rows) / requests,
  };
}

/** The journal in the file has the rows that were counted, and a line for each request. */
async function agree(site, journal, requests) {
  await site.gateway.stop();
  const tables = (await tenantsOnDisk(site.stateDir)).get("bench");
  if (tables.journal.length !== journal) throw new Error(`${journal} journal rows were counted, ${tables.journal.length} are in the file`);
  const settled = linesOf(tables).filter(({ kind }) => kind === "settled").length;
  if (settled !== requests) throw new Error(`${requests} requests, but ${settled} settlements in the file`);
}

/** Runs all loads, one after the other, against one tenant. What it leaves is cleared by `stopAll`. */
export async function measureGateway({ quick, say }) {
  const store = makeStore();
  atEnd(store.remove);
  const bundleDir = await mkdtemp(join(tmpdir(), "tollgate-spied-"));
  atEnd(() => rm(bundleDir, { recursive: true, force: true }));
  await spiedBundle(join(root, "build"), bundleDir);
  const site = await openSite({ env: { TOLLGATE_LOG: "errors" }, gateway: { bundleDir }, stateDir: store.path });
  atEnd(() => site.close());
  const tenant = await site.tenant("bench", CONFIG);
  const loads = [];
  for (const load of LOADS) {
    say(load.name);
    loads.push(await underLoad(site, tenant, load, quick ? SECONDS / 10 : SECONDS));
  }
  const { turns, rows } = await counted(site.url);
  await agree(site, rows.journal, turns.admit);
  return { storage: store.memory ? "memory" : "disk", loads };
}
