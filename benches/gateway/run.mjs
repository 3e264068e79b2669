// The benchmark's story: options, preparation, targets, rounds, report. Started by scripts/bench.
import { randomInt } from "node:crypto";
import { arch, cpus, platform } from "node:os";
import { parseArgs } from "node:util";
import { measure, shapes } from "./cells.mjs";
import { coldStart, coldStartTable } from "./coldstart.mjs";
import { countInstructions, instructionsTable } from "./instructions.mjs";
import { makeStore } from "./paths.mjs";
import { prepare } from "./prepare.mjs";
import { atEnd, stopAll } from "./processes.mjs";
import { acceptance, acceptanceLine, figures, figuresTable, problems, ratiosTable } from "./report.mjs";
import { probe, startMock, targets } from "./targets.mjs";

const say = (text) => process.stderr.write(`${text}\n`);
/** Resolves when it is written, since the program ends by process.exit. */
const print = (text) => new Promise((resolve) => process.stdout.write(`${text}\n`, resolve));

/**
 * Seconds under each shape of load before the first round. V8 optimises a function when it has run often enough: with a
 * second's requests the slow half of a gateway's code, and the optimising itself, would be what is measured.
 */
const WARM_UP_S = 10;

class Misuse extends Error {}

function positive(name, text) {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new Misuse(`--${name} must be a whole number above 0`);
  return value;
}

function readOptions() {
  const flag = { type: "boolean", default: false };
  let values;
  try {
    ({ values } = parseArgs({
      options: {
        rounds: { type: "string" },
        secs: { type: "string" },
        only: { type: "string" },
        quick: flag,
        json: flag,
        gate: flag,
        "cold-start": flag,
        instructions: flag,
      },
    }));
  } catch (error) {
    throw new Misuse(error.message);
  }
  const cold = values["cold-start"];
  const usual = Object.keys(targets).filter((name) => targets[name].usual);
  const asked = values.only?.split(",") ?? (cold || values.instructions ? ["js-pass", "tollgate", "portkey"] : usual);
  const unknown = asked.filter((name) => !(name in targets));
  if (unknown.length) throw new Misuse(`no target ${unknown.join(", ")}; there are ${Object.keys(targets).join(", ")}`);
  if (cold && asked.includes("direct")) throw new Misuse("--cold-start starts gateways, so direct has no place in it");
  if (values.instructions && (cold || values.gate || values.secs !== undefined)) throw new Misuse("--instructions goes with --rounds, --only, --quick and --json");
  if (values.instructions && asked.includes("direct")) throw new Misuse("--instructions counts those of workerd, so direct has no place in it");
  if (cold && values.gate) throw new Misuse("--gate judges the load, not --cold-start");
  const [rounds, secs] = values.quick ? [2, 1] : [cold ? 7 : 5, 3];
  return {
    warmUp: values.quick ? 1 : WARM_UP_S,
    names: Object.keys(targets).filter((name) => asked.includes(name)),
    rounds: positive("rounds", values.rounds ?? rounds),
    secs: positive("secs", values.secs ?? secs),
    json: values.json,
    gate: values.gate,
    cold,
    instructions: values.instructions,
  };
}

function shuffled(items) {
  const left = [...items];
  return items.map(() => left.splice(randomInt(left.length), 1)[0]);
}

async function loadRounds({ names, rounds, secs, warmUp }, mock, store) {
  const open = {};
  for (const name of names) {
    open[name] = await targets[name].start(mock, store);
    await probe(name, open[name]);
  }
  // Compilers and connection pools warm up; these rows are dropped.
  for (const name of names) for (const shape of ["load", "full"]) await measure(name, open[name], shape, warmUp, mock);
  const all = [];
  for (let round = 0; round < rounds; round++) {
    const rows = Object.fromEntries(names.map((name) => [name, {}]));
    // Shape by shape, so that the targets of one ratio are measured within seconds of each other.
    for (const shape of Object.keys(shapes)) {
      for (const name of shuffled(names)) rows[name][shape] = await measure(name, open[name], shape, secs, mock);
    }
    all.push(rows);
    say(`round ${round + 1} of ${rounds}`);
  }
  return all;
}

function machine(store) {
  const storage = store.memory ? "memory" : "disk";
  return { cpus: cpus().length, cpu: cpus()[0]?.model, system: `${platform()} ${arch()}`, node: process.version, storage };
}

async function reportLoad({ json, gate, names }, rounds, about) {
  const all = figures(rounds, names);
  const judged = acceptance(all);
  const wrong = problems(rounds);
  if (json) {
    await print(JSON.stringify({ ...about, figures: all, acceptance: judged, problems: wrong, rounds }, null, 1));
  } else {
    const lines = [...judged.map(acceptanceLine), ...wrong.map((line) => `FAILED ${line}`)];
    await print(`\n${figuresTable(all)}\n\n${ratiosTable(all)}\n\n${lines.join("\n")}`);
  }
  return wrong.length === 0 && (!gate || judged.every((line) => line.met));
}

async function main() {
  const options = readOptions();
  await prepare(options.names.flatMap((name) => targets[name].needs ?? []));
  const store = makeStore();
  atEnd(store.remove);
  if (!store.memory) say("note: object storage is on a disk, so fsync decides and CPU per request is too high");
  const mock = await startMock();
  const about = { machine: machine(store), rounds_run: options.rounds, seconds: options.secs };
  if (options.instructions) {
    const rows = await countInstructions(options.names, mock, store.path, options.rounds, say);
    await print(options.json ? JSON.stringify({ ...about, instructions: rows }, null, 1) : `\n${instructionsTable(rows)}`);
    return true;
  }
  if (!options.cold) return reportLoad(options, await loadRounds(options, mock, store.path), about);
  const all = await coldStart(options.names, mock, store.path, options.rounds, shuffled);
  await print(options.json ? JSON.stringify({ ...about, cold_start: all }, null, 1) : `\n${coldStartTable(all)}`);
  return true;
}

let code;
for (const [signal, status] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129]]) {
  process.on(signal, () => {
    code ??= status;
    stopAll().then(() => process.exit(code));
  });
}

try {
  const good = await main();
  code ??= good ? 0 : 1;
} catch (error) {
  // After a signal the error is only that the programs it waited for were stopped.
  if (code === undefined) {
    say(`bench: ${error.message}`);
    if (error instanceof Misuse) say("see scripts/bench --help");
  }
  code ??= error instanceof Misuse ? 2 : 1;
}
await stopAll();
process.exit(code);
