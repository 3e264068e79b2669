// Requests arrive at random, then far more than may pass. No window of any start holds more than the limit,
// and under steady overload nearly all of it is used.
//
// Counted are the admission times that the ledger has stored. They are not taken on trust: each must lie
// between the request's sending here and its arrival at the provider. All three clocks are this machine's.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fullest, linesOf } from "./books.mjs";
import { pause } from "./call.mjs";
import { chance, seedOfRun } from "./chance.mjs";
import { tenantsOnDisk } from "./rows.mjs";
import { ask, openSite } from "./site.mjs";

const RULES = [
  { name: "brief", limit: 20, windowS: 2, windows: 6 },
  { name: "even", limit: 60, windowS: 8, windows: 3 },
];
/** Clients that overload, and their pause after each answer. */
const [CLIENTS, BETWEEN_MS] = [3, 8];
/** The part of the limit that must be used under steady overload. */
const USED = 0.98;
/** The ledger counts a window of W in slots of ceil(W / 100) ms, and waits for 101 of them. */
const slotsPart = (windowMs) => windowMs / (101 * Math.ceil(windowMs / 100));
/** What a busy machine may lose of that. */
const SLACK = 0.01;

const seed = seedOfRun();
let site;

before(async () => {
  site = await openSite({ env: { TOLLGATE_LOG: "errors" } });
});

after(async () => {
  if (site) await site.close();
});

/** Random arrivals for one window, alone and in bunches; then overload for the others. Resolves to what was sent. */
async function arrive({ tenant, name, limit, windowS, windows }, random) {
  const sent = [];
  const send = async () => {
    const one = { at: Date.now(), model: `sim-${name}-r${sent.length}-l0-n1`, status: null };
    sent.push(one);
    const { status, text } = await tenant.chat(ask(one.model));
    assert.ok(status === 200 || status === 429, `${status} ${text}`);
    one.status = status;
  };
  const begun = Date.now();
  const pending = [];
  // On average half as many again as may pass.
  const gapMs = (windowS * 1000) / (1.5 * limit);
  while (Date.now() < begun + windowS * 1000) {
    const bunch = random() < 0.1 ? 2 + Math.floor(random() * 5) : 1;
    for (let i = 0; i < bunch; i += 1) pending.push(send());
    await pause(-Math.log(1 - random()) * gapMs * bunch);
  }
  const overloaded = Date.now();
  const client = async () => {
    while (Date.now() < begun + windows * windowS * 1000) {
      await send();
      await pause(BETWEEN_MS);
    }
  };
  await Promise.all([...pending, ...Array.from({ length: CLIENTS }, client)]);
  return { sent, overloaded };
}

/** Compares what was stored of one rule with what was seen from outside. Resolves to the part that was used. */
function judge({ name, limit, windowS, sent, overloaded }, tables, journal) {
  const W = windowS * 1000;
  const lines = linesOf(tables);
  const admitted = new Map(lines.map((line) => [line.attempt.model, line.admitted_at]));
  const passed = sent.filter(({ status }) => status === 200);
  assert.equal(admitted.size, lines.length);
  assert.deepEqual([...admitted.keys()].sort(), passed.map(({ model }) => model).sort(), `${name}: what passed is what is stored`);
  for (const { at, model } of passed) {
    const [entry, more] = journal.filter((one) => one.model === model);
    assert.ok(entry && !more, model);
    assert.ok(at <= admitted.get(model) && admitted.get(model) <= entry.at_ms, `${model}: ${at}, ${admitted.get(model)}, ${entry.at_ms}`);
  }
  const times = [...admitted.values()].sort((a, b) => a - b);
  const { count, end } = fullest(times, W);
  assert.ok(count <= limit, `${name}: ${count} in the ${windowS} s before ${end}, under a limit of ${limit}`);
  // Each place in the window is taken again as soon as it is free: how long it took, on average.
  const again = times.slice(limit).map((time, i) => time - times[i]);
  const steady = again.filter((_, i) => times[i + limit] > overloaded + W);
  assert.ok(steady.length >= limit, `${name}: ${steady.length} places were taken again under overload`);
  return { sent: sent.length, passed: passed.length, most: count, used: W / (steady.reduce((sum, ms) => sum + ms, 0) / steady.length) };
}

test("no window holds more than the limit, and overload uses nearly all of it", async (t) => {
  t.diagnostic(`seed ${seed}`);
  const rules = await Promise.all(RULES.map(async (rule, i) => {
    const tenant = await site.tenant(rule.name, { limits: [{ id: "rate", requests: rule.limit, window_s: rule.windowS }] });
    return { ...rule, tenant, random: chance(seed + i) };
  }));
  const runs = await Promise.all(rules.map(async (rule) => ({ ...rule, ...(await arrive(rule, rule.random)) })));
  await Promise.all(rules.map(({ tenant }) => tenant.settled()));
  const journal = await site.journal();
  await site.gateway.stop();
  const disk = await tenantsOnDisk(site.stateDir);
  for (const run of runs) {
    const { sent, passed, most, used } = judge(run, disk.get(run.name), journal);
    const W = run.windowS * 1000;
    t.diagnostic(
      `${run.limit} in ${run.windowS} s: ${sent} sent, ${passed} passed, at most ${most} in a window, ` +
        `${(100 * used).toFixed(2)} % used (slots allow ${(100 * slotsPart(W)).toFixed(2)} %)`,
    );
    const least = Math.min(USED, slotsPart(W) - SLACK);
    assert.ok(used >= least, `${run.name}: ${used} of the limit is used, ${least} must be`);
  }
});
