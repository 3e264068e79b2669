// The ledger's benchmark: options, the core's figures, the gateway's, tables. Started by scripts/bench ledger.
import { parseArgs } from "node:util";
import { root } from "../gateway/paths.mjs";
import { run, stopAll } from "../gateway/processes.mjs";
import { table } from "../gateway/report.mjs";
import { measureGateway } from "./gateway.mjs";

/** What design and measurement are compared by. They hold for steady traffic, not for a request now and then. */
const TARGETS = { rows_per_request: 0.1, calls_per_request: 1 };

const say = (text) => process.stderr.write(`${text}\n`);

class Misuse extends Error {}

function readOptions() {
  const flag = { type: "boolean", default: false };
  let values;
  try {
    ({ values } = parseArgs({ options: { only: { type: "string" }, quick: flag, json: flag } }));
  } catch (error) {
    throw new Misuse(error.message);
  }
  if (values.only !== undefined && !["core", "gateway"].includes(values.only)) throw new Misuse("--only takes core or gateway");
  return { quick: values.quick, json: values.json, core: values.only !== "gateway", gateway: values.only !== "core" };
}

async function measureCore({ quick }) {
  say("building and running the core's benchmark");
  const args = ["bench", "--quiet", "--locked", "--package", "tollgate-core", "--bench", "ledger", "--", ...(quick ? ["--quick"] : [])];
  const text = await run("cargo", args, { cwd: root });
  return text.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
}

const number = (value, digits = 0) => value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const micro = (ns) => number(ns / 1000, 2);
const parts = (counts) => Object.entries(counts).map(([name, n]) => `${name} ${n}`).join(", ");

function coreTable(cases) {
  const head = ["the pure core, one thread", "admissions/s", "µs each", "least to most", "settlements/s", "µs each"];
  const rows = cases.map(({ case: name, admit, settle }) => [
    name,
    number(admit.per_second),
    micro(admit.ns),
    `${micro(admit.least)} to ${micro(admit.most)}`,
    settle ? number(settle.per_second) : "-",
    settle ? micro(settle.ns) : "-",
  ]);
  return table([head, ...rows]);
}

function gatewayTable({ loads, storage }) {
  const head = ["the running gateway", "requests", "per second", "calls/request", "rows/request"];
  const rows = loads.map((load) => [
    load.name,
    number(load.requests),
    number(load.per_second),
    number(load.calls_per_request, 3),
    number(load.rows_per_request, 3),
  ]);
  const target = ["target", "", "", `about ${TARGETS.calls_per_request}`, `<= ${TARGETS.rows_per_request}`];
  const detail = loads.map((load) => `${load.name}: ${load.calls} calls; messages: ${parts(load.turns)}; rows: ${parts(load.rows)}; alarms rung: ${load.alarms_rung}`);
  return `${table([head, ...rows, target])}\nobjects' storage: ${storage}\n${detail.join("\n")}`;
}

async function main() {
  const options = readOptions();
  const core = options.core ? await measureCore(options) : null;
  if (options.gateway) await run("./scripts/build", [], { cwd: root, show: true });
  const gateway = options.gateway ? await measureGateway({ quick: options.quick, say }) : null;
  if (options.json) return JSON.stringify({ targets: TARGETS, core, gateway }, null, 1);
  return [core && coreTable(core), gateway && gatewayTable(gateway)].filter(Boolean).join("\n\n");
}

let code;
for (const [signal, status] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129]]) {
  process.on(signal, () => {
    code ??= status;
    stopAll().then(() => process.exit(status));
  });
}

try {
  const text = await main();
  await new Promise((resolve) => process.stdout.write(`\n${text}\n`, resolve));
  code ??= 0;
} catch (error) {
  if (code === undefined) {
    say(`bench: ${error.message}`);
    if (error instanceof Misuse) say("see scripts/bench --help");
  }
  code ??= error instanceof Misuse ? 2 : 1;
}
await stopAll();
process.exit(code);
