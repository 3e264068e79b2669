// One tenant under a fault: steady traffic at an alias of a target that falls sick and one that stays well, and
// what came of it by three accounts: the clients', the provider's journal, and the books on disk.
import { events, pause, spoken, until } from "./call.mjs";
import { idOf, linesOf } from "./books.mjs";
import { ask } from "./site.mjs";

/** Requests leave at their times, whether or not the ones before were answered. */
const EVERY_MS = 500;
/** Good times before the fault. */
const BEFORE_MS = 3000;
/** Of no target may a request wait longer. */
const LIMIT_MS = 1500;
/** How long a permit lives. */
const LIFETIME_S = 25;
/** Tokens of every answer. */
const TOKENS = 12;
/** Within this time of the fault's end the sick target must have its traffic back. */
export const RECOVERS_MS = 10_000;
/** The first pause of a breaker, as the document says. */
const COOLDOWN_MS = 2000;

const WARM = "sim-warm-l0";

const document = (name, breaker, retry) => ({
  models: { pool: { targets: [`simulated/${sickOf(name)}`, `simulated/${wellOf(name)}`] }, warm: { target: `simulated/${WARM}` } },
  timeouts: { first_byte_ms: LIMIT_MS, idle_ms: LIMIT_MS, total_ms: 20_000 },
  permit: { lifetime_s: LIFETIME_S },
  breaker: { cooldown_s: COOLDOWN_MS / 1000, ...breaker },
  retry,
});

/** In a model's name words such as "hang" would steer the simulator. */
const modelOf = (name, how) => `sim-${name.replaceAll("-", "_")}_${how}-l10-t10-i5-n${TOKENS}`;
const sickOf = (name) => modelOf(name, "sick");
const wellOf = (name) => modelOf(name, "well");

/** Whether it is a whole and right answer. One that went on elsewhere says so, and has both parts. */
function whole({ status, error, text }, stream) {
  if (status !== 200 || error !== null) return false;
  let said;
  let joined = false;
  let finish;
  try {
    if (stream) {
      const all = events(text);
      const choices = all.filter((event) => event !== "[DONE]").flatMap((event) => event.choices ?? []);
      if (all.at(-1) !== "[DONE]" || all.some((event) => event.error)) return false;
      said = choices.map(({ delta }) => delta.content ?? "").join("");
      finish = choices.at(-1).finish_reason;
      joined = all.some((event) => event.tollgate?.continued);
    } else {
      const { choices } = JSON.parse(text);
      said = choices[0].message.content;
      finish = choices[0].finish_reason;
    }
  } catch {
    return false;
  }
  const words = said.split(" ").length;
  // The simulator does not read what it is to go on with: its part is a whole answer.
  return finish === "stop" && (joined ? words > TOKENS : words === TOKENS);
}

/** Whether it is a stream that broke off and says so: an error at its end, and no word of being done. */
function toldInBand({ status, error, text }) {
  if (status !== 200 || error !== null || spoken(text).includes("[DONE]")) return false;
  try {
    return typeof events(text).at(-1).error.code === "string";
  } catch {
    return false;
  }
}

/** What is loaded and compiled at first would look like a slow provider. */
async function warm(tenant) {
  await until("a quick answer", async () => (await tenant.chat(ask("", { model: "warm" }))).ms < LIMIT_MS / 5, 30_000);
}

/**
 * Runs it: good times, the fault for `stormMs`, and recovery.
 *
 * @param {object} site
 * @param {object} scenario
 * @param {string} scenario.name
 * @param {object} scenario.fault     fields of the simulator's control, without the model
 * @param {boolean} [scenario.stream]
 * @param {object} [scenario.breaker] more of the breaker's document
 * @param {object} [scenario.retry]   the retries' document
 * @param {number} stormMs
 */
export async function storm(site, { name, fault, stream = false, breaker = {}, retry = {} }, stormMs) {
  const tenant = await site.tenant(name, document(name, breaker, retry));
  await warm(tenant);
  const asked = [];
  const begun = Date.now();
  const send = (n) => {
    const body = ask("", { model: "pool", messages: [{ role: "user", content: `${name} ${n}` }], ...(stream && { stream }) });
    const at = Date.now() - begun;
    asked.push(tenant.chat(body).then((answer) => ({ ...answer, at })));
  };
  const traffic = async (endsAt) => {
    while (Date.now() < endsAt) {
      if (Date.now() >= begun + asked.length * EVERY_MS) send(asked.length);
      else await pause(Math.max(1, begun + asked.length * EVERY_MS - Date.now()));
    }
  };
  await traffic(begun + BEFORE_MS);
  const on = Date.now();
  await site.fault({ model: sickOf(name), ...fault });
  await traffic(on + stormMs);
  await site.fault({ model: sickOf(name), fault: null });
  const off = Date.now();
  await traffic(off + RECOVERS_MS + 2000);
  const answers = await Promise.all(asked);
  // A permit that nobody settled has expired by then, which the books tell.
  const budget = await tenant.settled(2000 * LIFETIME_S);
  const [sick, well] = await Promise.all([sickOf(name), wellOf(name)].map((model) => site.journal({ model })));
  const bad = answers.filter((answer) => !whole(answer, stream));
  return {
    name, tenant, on, off, budget, sick, well,
    requests: answers.length,
    told: bad.filter(toldInBand).length,
    lost: bad.filter((answer) => !toldInBand(answer)).map(({ at, ms, status, error, text }) => `at ${at} ms, after ${ms} ms: ${status} ${error} ${text.slice(0, 300)}`),
  };
}

/** When the object heard of each failure of a model: at once, or with the end of its request. */
function failuresOf(facts, model) {
  const told = new Map();
  const heard = [];
  const hear = (at, attempt) => {
    if (attempt?.model === model && attempt.outcome !== "ok") heard.push({ at });
  };
  for (const { failed, lines } of facts) {
    if (failed) {
      const id = idOf(failed.permit);
      told.set(id, (told.get(id) ?? 0) + failed.attempts.length);
      failed.attempts.forEach((attempt) => hear(failed.at, attempt));
    }
    for (const { at, permit, n, attempt } of lines?.lines ?? []) {
      if (n > (told.get(idOf(permit)) ?? 0)) hear(at, attempt);
    }
  }
  return heard;
}

/** What the books on disk say of the sick target. */
export function booksOf({ name, on, off }, tables) {
  const lines = linesOf(tables);
  const target = `simulated/${sickOf(name)}`;
  const facts = tables.journal.toSorted((a, b) => a.n - b.n).flatMap((row) => JSON.parse(row.facts));
  const probes = facts.map((fact) => fact.probe).filter((probe) => probe?.target === target);
  const ids = new Set(probes.map(({ permit }) => idOf(permit)));
  const sick = lines.filter(({ kind, attempt }) => kind === "settled" && attempt?.model === sickOf(name));
  const failed = failuresOf(facts, sickOf(name));
  const first = probes.find(({ at }) => at >= on);
  // It opened with a failure, its first pause or a little more before the first probe. Failures that came in that
  // little more are counted, too.
  const opened = first && Math.max(...failed.map(({ at }) => at).filter((at) => at <= first.at - COOLDOWN_MS));
  const closes = sick.filter((line) => line.at > opened && line.attempt.outcome === "ok" && ids.has(idOf(line.permit)));
  const closed = Math.min(off, ...closes.map(({ at }) => at));
  return {
    lines,
    /** The lines of the requests, without those that warmed up. */
    asked: lines.filter(({ attempt }) => attempt?.model !== WARM),
    probes: probes.filter(({ at }) => at < off),
    opened: opened ?? null,
    failures: failed.filter(({ at }) => at >= on && at <= opened).length,
    /** The end of the first time that it was open. */
    closed,
    /** Attempts there under a permit from while it was open, that was not the probe. */
    strays: sick.filter((line) => line.admitted_at > opened && line.admitted_at < closed && !ids.has(idOf(line.permit))),
  };
}

/** How many of these requests the provider had under way at the same time, at most. */
export function atOnce(entries) {
  const steps = entries.flatMap(({ at_ms: from, ended_at_ms: to }) => [[from, 1], [to === null ? Infinity : to + 1, -1]]);
  let [now, most] = [0, 0];
  for (const [, step] of steps.sort((a, b) => a[0] - b[0] || a[1] - b[1])) most = Math.max(most, (now += step));
  return most;
}

/** When the sick target had its traffic back: it has given an answer after the fault, and is asked again. */
export function recovered({ sick, off }) {
  const good = sick.filter(({ at_ms: at, ended, status }) => at >= off && ended === "done" && status === 200);
  return good.length > 1 ? good[1].at_ms - off : null;
}

