// Sixteen writers, and a SIGKILL every one to three seconds. After each kill the dead process's own files
// are read. TOLLGATE_SOAK_SECONDS says for how long (25), TOLLGATE_SEED repeats the times of the kills.
//
// What is known from outside: each permit and each report that the object acknowledged to its worker are
// told by the spy in the log; what the provider was sent is in its own journal. Each request asks for a
// model of its own, so that all three can be matched.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { ROOT } from "../../scripts/lib/stack.mjs";
import { assertBalanced, endsOf, fullest, idOf, linesOf, sumsOf } from "./books.mjs";
import { pause, until } from "./call.mjs";
import { chance, seedOfRun } from "./chance.mjs";
import { tenantsOnDisk } from "./rows.mjs";
import { ask, nano, openSite, usd, worstCase } from "./site.mjs";
import { spiedBundle, told } from "./spy.mjs";

const SECONDS = Number(process.env.TOLLGATE_SOAK_SECONDS ?? 25);
const BETWEEN_KILLS_MS = [1000, 3000];
/** How long a permit lives whose owner was killed. No request may take longer. */
const LIFETIME_S = 5;
/** Within this time after its permit's life every attempt has its line. */
const GRACE_S = 60;
const TIMES = ["l20", "l60", "l20", "l200", "l1200"];
/** Requests of the tenant `wide` that may pass in any window: less than its writers could do. */
const [L, WINDOW_S] = [30, 2];
/** How many requests the tenant `tight` can afford at a time, beyond what it has spent. */
const AFFORDED = 12;

const seed = seedOfRun();
/** Told by the spy: permits by id, and the ids of those whose report was acknowledged. */
const permits = new Map();
const acknowledged = new Set();
/** Seen by the provider, by its id of the request. */
const dispatched = new Map();
const sides = [];
let site;
let bundleDir;

before(async () => {
  bundleDir = await mkdtemp(path.join(os.tmpdir(), "tollgate-spied-"));
  await spiedBundle(path.join(ROOT, "build"), bundleDir, { tell: true });
  site = await openSite({ env: { TOLLGATE_LOG: "errors" }, gateway: { bundleDir } });
  await side("wide", 10, { limits: [{ id: "rate", requests: L, window_s: WINDOW_S }] }, 1e12);
  await side("tight", 6, {}, AFFORDED * worstCase(body("tight", 0, 0)));
});

after(async () => {
  if (site) await site.close();
  await rm(bundleDir, { recursive: true, force: true });
});

/** Every fourth writer asks for streams. */
function body(name, lane, i) {
  const more = lane % 4 === 3 ? { stream: true } : {};
  return ask(`sim-${name}-w${lane}r${i}-${TIMES[(lane + i) % TIMES.length]}-t20-i10-n9`, { max_tokens: 200, ...more });
}

async function side(name, writers, more, limit) {
  const own = { name, writers, limit, more, floor: 0, answers: 0, refused: 0, broken: 0 };
  own.tenant = await site.tenant(name, configOf(own));
  sides.push(own);
}

const configOf = ({ limit, more }) => ({
  ...more,
  budgets: [{ id: "all", limit_usd: usd(limit), period: "total" }],
  permit: { lifetime_s: LIFETIME_S },
  timeouts: { first_byte_ms: 4000, idle_ms: 4000, total_ms: 4000 },
});

/** Writes until `running` says no more. */
async function write(own, lane, running) {
  for (let i = 0; running(); i += 1) {
    const answer = await own.tenant.chat(body(own.name, lane, i));
    if (answer.status === 200 && answer.error === null) own.answers += 1;
    else if (answer.status === 402 || answer.status === 429) own.refused += 1;
    else if (answer.status === null || answer.error) own.broken += 1;
    else assert.fail(`${answer.status} ${answer.text}`);
    await pause(answer.status === 200 ? 5 : 40);
  }
}

const live = (name) => site.manage("GET", `/tenants/${name}/budgets`);

/** Asks what is spent. It never goes down, and with what is held it never goes above the limit. */
async function look(own) {
  const { data: [money], permits: here, orphaned_permits: orphaned } = await live(own.name);
  const [spent, held] = [nano(money.spent_usd), nano(money.held_usd)];
  assert.ok(spent >= own.floor, `${own.name}: ${usd(own.floor)} were spent, and then ${usd(spent)}`);
  assert.ok(spent + held <= own.limit, `${own.name}: ${usd(spent)} spent, ${usd(held)} held of ${usd(own.limit)}`);
  own.floor = spent;
  return here + orphaned + held === 0 ? money : null;
}

/** Takes in what the spy told and what the provider saw since the last time. */
async function gather() {
  for (const line of site.log.splice(0).map(told).filter(Boolean)) {
    if (line.permit) permits.set(`${line.tenant} ${idOf(line.permit)}`, { at: line.at, model: line.model });
    for (const id of line.acknowledged ?? []) acknowledged.add(`${line.tenant} ${idOf(id)}`);
  }
  for (const { id, model, at_ms } of await site.journal({ limit: 3000 })) dispatched.set(id, { model, at: at_ms });
}

/** The stored lines of a permit; its id begins with its tenant. */
function endsFor(id) {
  const [name, permit] = id.split(" ");
  return sides.find((own) => own.name === name).ends.get(permit) ?? [];
}

/** The dead process's files: what was acknowledged is there, and the books are in order. */
async function audit() {
  const disk = await tenantsOnDisk(site.stateDir);
  let stored = 0;
  for (const own of sides) {
    const lines = linesOf(disk.get(own.name));
    assertBalanced(disk.get(own.name), lines);
    own.ends = endsOf(lines);
    own.stored = sumsOf(lines).get("all") ?? 0;
    assert.ok(own.stored >= own.floor, `${own.name}: ${usd(own.floor)} were shown as spent, ${usd(own.stored)} are stored`);
    assert.ok(own.stored <= own.limit, `${own.name}: ${usd(own.stored)} spent of ${usd(own.limit)}`);
    stored += lines.filter(({ kind }) => kind === "settled").length;
  }
  const lost = [...acknowledged].filter((id) => !["settled", "released"].includes(endsFor(id)[0]?.kind));
  assert.deepEqual(lost, [], "acknowledged settlements that are not stored");
  return stored;
}

test(`${SECONDS} s of kills under 16 writers`, async (t) => {
  const random = chance(seed);
  const ends = Date.now() + SECONDS * 1000;
  let writing = true;
  let kills = 0;
  let stored = 0;
  const tell = () => {
    const refused = sides.map(({ refused }) => refused);
    t.diagnostic(
      `seed ${seed}: ${kills} kills, ${dispatched.size} requests at the provider, ${permits.size} permits, ` +
        `${acknowledged.size} settlements acknowledged, ${stored} stored, ${refused.join(" and ")} refused`,
    );
  };
  const writers = sides.flatMap((own) => Array.from({ length: own.writers }, (_, lane) => write(own, lane, () => writing)));
  try {
    while (Date.now() < ends) {
      const [least, most] = BETWEEN_KILLS_MS;
      const killAt = Date.now() + least + random() * (most - least);
      while (Date.now() < killAt) {
        await Promise.all(sides.map(look));
        await pause(Math.max(0, Math.min(50, killAt - Date.now())));
      }
      await site.gateway.kill();
      kills += 1;
      await gather();
      stored = await audit();
      await site.start();
      // `tight` stays close to its limit, which never goes down.
      const [, tight] = sides;
      tight.limit = Math.max(tight.limit, tight.stored + AFFORDED * worstCase(body("tight", 0, 0)));
      await site.manage("PUT", "/tenants/tight/config", configOf(tight));
    }
  } finally {
    writing = false;
    await Promise.all(writers);
    tell();
  }
  const told = sides.map((own) => until(`all that ${own.name} held is free again`, () => look(own), (LIFETIME_S + GRACE_S) * 1000));
  const money = await Promise.all(told);
  await site.gateway.stop();
  await gather();
  stored = await audit();
  tell();

  // What the gateway says is what it has stored, and every permit has ended once.
  sides.forEach((own, i) => assert.equal(nano(money[i].spent_usd), own.stored, own.name));
  for (const [id, lines] of sides.flatMap((own) => [...own.ends])) {
    assert.match(lines.map(({ kind }) => kind).join(), /^(settled|released|expired)$/, id);
  }
  const open = [...permits.keys()].filter((id) => endsFor(id).length === 0);
  assert.deepEqual(open, [], "permits without an end");
  assertDispatched();
  // Also the memory of what was admitted outlives a kill.
  const admitted = [...permits].filter(([id]) => id.startsWith("wide ")).map(([, { at }]) => at).sort((a, b) => a - b);
  const { count } = fullest(admitted, WINDOW_S * 1000);
  t.diagnostic(`at most ${count} of ${L} admitted in ${WINDOW_S} s`);
  assert.ok(count <= L, `${count} requests in ${WINDOW_S} s under a limit of ${L}`);

  // The run was worth its time.
  const [wide, tight] = sides;
  assert.ok(kills >= SECONDS / 8, `${kills} kills`);
  assert.ok(acknowledged.size > 2 * kills, `${acknowledged.size} acknowledged`);
  assert.ok(wide.refused > 0 && tight.refused > 0, `${wide.refused} and ${tight.refused} refused`);
  assert.ok(wide.broken >= kills, `${wide.broken} broken off`);
  assert.ok(sides.some((own) => [...own.ends.values()].some(([{ kind }]) => kind === "expired")), "no kill left anything open");
});

/** Whatever reached the provider had one permit, and that ended in one line in time. */
function assertDispatched() {
  const byModel = new Map([...permits].map(([id, { model }]) => [model, id]));
  const models = [...dispatched.values()].map(({ model }) => model);
  assert.equal(new Set(models).size, models.length, "a request reached the provider twice");
  const numbers = [...dispatched.keys()].map((id) => Number(id.slice("req_".length)));
  assert.equal(numbers.length, Math.max(...numbers), "all that the provider saw was gathered");
  for (const { model, at } of dispatched.values()) {
    const id = byModel.get(`simulated/${model}`);
    assert.ok(id, `${model} reached the provider without a permit`);
    const [line] = endsFor(id);
    assert.ok(line && line.kind !== "released", `${model}: ${line?.kind ?? "no line"}`);
    if (line.kind === "settled") assert.equal(line.attempt.model, model);
    const late = line.at - at - (LIFETIME_S + GRACE_S) * 1000;
    assert.ok(late <= 0, `${model} ended ${late} ms too late`);
  }
}
