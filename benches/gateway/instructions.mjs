// Instructions per request, counted by valgrind. They repeat within a few percent on any machine, where times follow
// whatever else it does. There is no time in a count: objects seem far away, so their messages travel one by one.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { workerdPath } from "../../scripts/lib/local.mjs";
import { runtime } from "./processes.mjs";
import { table } from "./report.mjs";
import { probe, targets } from "./targets.mjs";

/** Requests before the first count: by then what runs for each of them is compiled. */
const WARM_UP = 1500;
/** Requests of a count. */
const REQUESTS = 300;
const CONNECTIONS = 16;
/** V8 optimises wasm after far fewer runs, as it will have done in a long-lived isolate. */
const V8_FLAGS = ["--wasm-tiering-budget=200000"];
/** A program under valgrind takes its time to start. */
const START_LIMIT_MS = 300_000;
/** A second-level cache as small as a shared core's: 512 KB, 8 ways, lines of 64 bytes. */
const CACHE = ["--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,8,64", "--LL=524288,8,64"];
const MISSES = ["ILmr", "DLmr", "DLmw"];

function checkTools() {
  for (const tool of ["valgrind", "callgrind_control"]) {
    if (spawnSync(tool, ["--version"]).error) throw new Error(`--instructions needs ${tool} (the package valgrind, on Linux)`);
  }
}

async function ask({ url, headers, model }, count) {
  const body = JSON.stringify({ model: model("mock"), messages: [{ role: "user", content: "Say something short." }] });
  let left = count;
  const client = async () => {
    while (left-- > 0) {
      const response = await fetch(url, { method: "POST", headers: { ...headers, "content-type": "application/json" }, body });
      const text = await response.text();
      if (response.status !== 200) throw new Error(`answered ${response.status}: ${text.slice(0, 300)}`);
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, client));
}

/** What one dump of callgrind says of each request. */
function perRequest(file) {
  const text = readFileSync(file, "latin1");
  const names = /^events: (.*)$/m.exec(text)?.[1].split(" ");
  const counts = /^(?:summary|totals): (.*)$/m.exec(text)?.[1].split(" ").map(Number);
  if (!names || !counts) throw new Error(`${file} is not what callgrind writes`);
  const of = (name) => counts[names.indexOf(name)] / REQUESTS;
  return { instructions: of("Ir"), misses: MISSES.map(of).reduce((sum, n) => sum + n, 0) };
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

async function countOne(name, mock, store, counts) {
  const dir = join(store, `count-${name}`);
  mkdirSync(dir);
  const program = join(dir, "workerd");
  const valgrind = ["valgrind", "--tool=callgrind", "--smc-check=all-non-file", "--instr-atstart=no", ...CACHE];
  writeFileSync(program, `#!/bin/sh\nexec ${valgrind.join(" ")} --callgrind-out-file='${dir}/out' '${workerdPath()}' "$@"\n`, { mode: 0o755 });
  Object.assign(runtime, { program, v8Flags: V8_FLAGS, startLimitMs: START_LIMIT_MS });
  const target = await targets[name].start(mock, store);
  const control = (...args) => execFileSync("callgrind_control", [...args, `${target.pid}`], { stdio: "ignore" });
  try {
    await probe(name, target);
    await ask(target, WARM_UP);
    control("--instr=on");
    // The first count also warms valgrind up.
    for (let n = 0; n <= counts; n++) {
      control("--zero");
      await ask(target, REQUESTS);
      control("--dump");
    }
  } finally {
    await target.stop();
  }
  const dumps = readdirSync(dir).flatMap((file) => /^out\.(\d+)$/.exec(file)?.[1] ?? []).map(Number).filter((n) => n > 1 && n <= counts + 1);
  if (dumps.length < counts) throw new Error(`${name}: callgrind wrote ${dumps.length} of ${counts} counts`);
  const all = dumps.map((n) => perRequest(join(dir, `out.${n}`)));
  return { name, instructions: median(all.map((one) => one.instructions)), misses: median(all.map((one) => one.misses)) };
}

/** Counts the targets one after the other: `counts` times each, the median. */
export async function countInstructions(names, mock, store, counts, say) {
  checkTools();
  const rows = [];
  for (const name of names) {
    rows.push(await countOne(name, mock, store, counts));
    say(`${name} is counted`);
  }
  return rows;
}

export function instructionsTable(rows) {
  const base = rows.find(({ name }) => name === "js-pass");
  const ratio = (row, key) => (base ? (row[key] / base[key]).toFixed(2) : "-");
  const head = ["target", "instructions", "/ js-pass", "not in 512 KB of cache", "/ js-pass"];
  const thousands = (n) => `${Math.round(n / 1000).toLocaleString("en-US")} k`;
  const line = (row) => [row.name, thousands(row.instructions), ratio(row, "instructions"), thousands(row.misses), ratio(row, "misses")];
  return table([head, ...rows.map(line)]);
}
