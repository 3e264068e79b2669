// The process is killed again and again while it works. A crash may make the ledger more careful; it must
// not make it forget, count twice, or promise more than there is.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { assertBalanced, endsOf, linesOf, sumsOf } from "./books.mjs";
import { pause, until } from "./call.mjs";
import { tenantsOnDisk } from "./rows.mjs";
import { ask, nano, openSite, usd, worstCase } from "./site.mjs";

const KILLS = 8;
const BETWEEN_KILLS_MS = 900;
/** How long a permit lives whose owner was killed. */
const LIFETIME_S = 5;
/** The alarm that closes it, and a busy machine. */
const SLACK_MS = 5000;
const TIMES = ["l20", "l100", "l300"];
const body = (name, i) => ask(`sim-${name}-${TIMES[i % TIMES.length]}-n9`, { max_tokens: 200 });

let site;
/** One tenant that crashes never bring to its limit, and one that they do, each with two keys. */
let sides;

before(async () => {
  site = await openSite({ env: { TOLLGATE_LOG: "errors" } });
  sides = await Promise.all([side("wide", 5000, 6), side("tight", 20, 2)]);
});

after(async () => {
  if (site) await site.close();
});

async function side(name, afforded, writers) {
  const limit = afforded * worstCase(body(name, 0));
  const tenant = await site.tenant(name, {
    limits: [{ id: "many", requests: 100_000, window_s: 3600 }],
    budgets: [
      { id: "all", limit_usd: usd(limit), period: "total" },
      { id: "own", scope: "key", limit_usd: usd(limit), period: "total" },
    ],
    permit: { lifetime_s: LIFETIME_S },
    timeouts: { first_byte_ms: 4000, idle_ms: 4000, total_ms: 4000 },
  });
  const keys = [{ id: tenant.keyId, key: tenant.key }, await tenant.newKey()];
  return { name, tenant, limit, writers, keys, answers: 0, refused: 0, broken: 0, costs: new Map(keys.map(({ id }) => [id, 0])) };
}

const live = (name) => site.manage("GET", `/tenants/${name}/budgets`);

/** Whatever happens, no budget has more spent and held than its limit. */
async function within({ name, limit }) {
  const { data, permits, orphaned_permits: orphaned } = await live(name);
  for (const { id, key, spent_usd, held_usd } of data) {
    assert.ok(nano(spent_usd) + nano(held_usd) <= limit, `${name} ${id} ${key}: ${spent_usd} spent, ${held_usd} held of ${usd(limit)}`);
  }
  return { data, open: permits + orphaned + data.filter((budget) => budget.held_usd !== "0").length };
}

test(`${KILLS} kills under 8 writers`, async () => {
  let running = true;
  const write = async (own, lane) => {
    for (let i = lane; running; i += 1) {
      const { id, key } = own.keys[lane % 2];
      const answer = await own.tenant.chat(body(own.name, i), { key });
      if (answer.status === 200 && answer.error === null) {
        own.answers += 1;
        own.costs.set(id, own.costs.get(id) + nano(answer.headers["x-tollgate-cost-usd"]));
        continue;
      }
      if (answer.status === 402) own.refused += 1;
      else if (answer.status === null || answer.error) own.broken += 1;
      else assert.fail(`${answer.status} ${answer.text}`);
      await pause(40);
    }
  };
  const writers = sides.flatMap((own) => Array.from({ length: own.writers }, (_, lane) => write(own, lane)));
  try {
    for (let kill = 0; kill < KILLS; kill += 1) {
      const killAt = Date.now() + BETWEEN_KILLS_MS;
      while (Date.now() < killAt) {
        await Promise.all(sides.map(within));
        await pause(60);
      }
      await site.killAndRestart();
    }
  } finally {
    running = false;
    await Promise.all(writers);
  }
  const [wide, tight] = sides;
  assert.ok(wide.answers > 40 && wide.refused === 0 && wide.broken >= KILLS, JSON.stringify(wide));
  assert.ok(tight.answers > 5 && tight.refused > 0, JSON.stringify(tight));

  const ends = sides.map((own) => until(`all that ${own.name} held is free again`, async () => {
    const { open, data } = await within(own);
    return open === 0 && data;
  }, LIFETIME_S * 1000 + SLACK_MS));
  const budgets = await Promise.all(ends);
  const costOf = async ({ tenant }) => (await tenant.usage()).reduce((sum, row) => sum + nano(row.cost_usd), 0);
  const counters = await Promise.all(sides.map(costOf));
  const entries = await site.journal();
  await site.gateway.stop();
  const disk = await tenantsOnDisk(site.stateDir);
  for (const [i, own] of sides.entries()) {
    const spent = new Map(budgets[i].map(({ id, key, spent_usd }) => [`${id} ${key ?? ""}`.trim(), nano(spent_usd)]));
    const costs = own.keys.map(({ id }) => own.costs.get(id));
    assert.ok(spent.get("all") >= costs[0] + costs[1], `${own.name}: ${spent.get("all")} spent, but callers were told of ${costs}`);
    own.keys.forEach(({ id }, k) => assert.ok(spent.get(`own ${id}`) >= costs[k], `${own.name} ${id}: callers were told of ${costs[k]}`));
    const dispatched = entries.filter(({ model }) => model?.startsWith(`sim-${own.name}-`)).length;
    assert.ok(dispatched >= own.answers);
    checkJournal(disk.get(own.name), { spent, dispatched, counted: counters[i], answers: own.answers });
  }
});

function checkJournal(tables, { spent, dispatched, counted, answers }) {
  const lines = linesOf(tables);
  assertBalanced(tables, lines);
  assert.deepEqual([...sumsOf(lines)].sort(), [...spent].filter(([, amount]) => amount !== 0).sort());
  // A request cost what it cost, or the most that any account was charged where a crash forgot it.
  const cost = ({ kind, attempt, charges }) => (kind === "settled" ? attempt.cost : Math.max(0, ...charges.map(({ c }) => c)));
  assert.equal(counted, lines.reduce((sum, line) => sum + cost(line), 0), "the counters have every line once");
  checkEnds(lines, dispatched);
  // Most were settled by their worker. A kill takes along those of the last quarter of a second.
  const settled = lines.filter(({ kind }) => kind === "settled").length;
  assert.ok(settled >= answers / 4, `${settled} of ${answers} settled`);
}

/**
 * Every request at the provider had a permit, and each permit has ended once: it was settled, released, or
 * it expired. A correction would come from the worker, and that is dead.
 */
function checkEnds(lines, dispatched) {
  const ends = endsOf(lines);
  assert.ok(ends.size >= dispatched, `${dispatched} requests at the provider, ${ends.size} ends`);
  // One attempt each, so one line each.
  for (const [id, own] of ends) assert.match(own.map(({ kind }) => kind).join(), /^(settled|released|expired)$/, id);
}
