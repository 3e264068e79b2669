// What routing and the cache save, by the gateway's own savings ledger. Started by scripts/bench cost.
import { parseArgs } from "node:util";
import { root } from "../gateway/paths.mjs";
import { run, stopAll } from "../gateway/processes.mjs";
import { table } from "../gateway/report.mjs";
import { measure } from "./gateway.mjs";
import { dollars, percent, priceOf } from "./prices.mjs";
import { generated, repeated, sampled, traced } from "./trace.mjs";

/** The least that routing and the cache must save, in percent. */
const LEAST_PERCENT = 20;
const REQUESTS = 1_000;
const QUICK_REQUESTS = 200;
const MOST_REQUESTS = 20_000;

/** Shares of requests that repeat another one, and how unevenly. README.md says why. */
const REPEATS = { percent: 10, zipf: 0.8 };

/** MMLU as their maker published it on 14 April 2025; the baseline is GPT-4o of 2024-11-20. */
const QUALITY = {
  "openai/gpt-4o": 0.857,
  "openai/gpt-4.1": 0.902,
  "openai/gpt-4.1-mini": 0.875,
  "openai/gpt-4o-mini": 0.82,
  "openai/gpt-4.1-nano": 0.801,
};
const BASELINE = "openai/gpt-4o";
const pool = Object.entries(QUALITY).map(([target, quality]) => ({ target, quality }));
const balanced = (floor) => ({ strategy: "balanced", min_quality: floor, targets: pool });

/** The third is the one that counts. */
const WAYS = [
  { name: "baseline only", model: { target: BASELINE }, cache: false },
  { name: "balanced, no cache", model: balanced(QUALITY[BASELINE]), floor: QUALITY[BASELINE], cache: false },
  { name: "balanced, cache", model: balanced(QUALITY[BASELINE]), floor: QUALITY[BASELINE], cache: true, counts: true },
  { name: "balanced, cache, higher floor", model: balanced(0.9), floor: 0.9, cache: true },
];

const say = (text) => process.stderr.write(`${text}\n`);

class Misuse extends Error {}

function readOptions() {
  const flag = { type: "boolean", default: false };
  let values;
  try {
    ({ values } = parseArgs({
      options: { trace: { type: "string" }, requests: { type: "string" }, repeat: { type: "string" }, quick: flag, json: flag },
    }));
  } catch (error) {
    throw new Misuse(error.message);
  }
  const number = (name, text, most) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value > most) throw new Misuse(`--${name} takes a whole number up to ${most}`);
    return value;
  };
  const requests = values.requests === undefined ? (values.quick ? QUICK_REQUESTS : REQUESTS) : number("requests", values.requests, MOST_REQUESTS);
  if (requests < 1) throw new Misuse("--requests takes at least 1");
  const percent = values.repeat === undefined ? REPEATS.percent : number("repeat", values.repeat, 100);
  return { trace: values.trace ?? process.env.TOLLGATE_TRACE, requests, repeats: { ...REPEATS, percent }, json: values.json };
}

const mean = (rows, field) => rows.reduce((sum, row) => sum + row[field], 0) / rows.length;

function lines({ requests, source, repeats, results, reduction }) {
  const head = ["", "asked", "stored answers", "baseline $", "actual $", "saved $", "saved %", "by route $", "by cache $"];
  const rows = results.map(({ name, requests: n, hits, actual, counterfactual, by }) => [
    name, String(n - hits), String(hits), dollars(counterfactual), dollars(actual), dollars(counterfactual - actual),
    percent(counterfactual - actual, counterfactual).toFixed(2), dollars(by.route ?? 0n), dollars(by.cache ?? 0n),
  ]);
  const prices = Object.entries(QUALITY).map(([target, quality]) => `${target} ${quality} (${priceOf(target).text})`);
  const asked = results.map(({ name, asked: by }) => `${name}: ${Object.entries(by).map(([model, n]) => `${model} ${n}`).join(", ")}`);
  return [
    `${requests.length} requests of ${source}: ${mean(requests, "input").toFixed(0)} tokens in and ${mean(requests, "output").toFixed(0)} out on average;`,
    `${repeats.percent} % repeat an earlier one (Zipf ${repeats.zipf}): ${requests.length - new Set(requests.map(({ same }) => same)).size} of them`,
    `pool, with quality and prices (USD per million tokens: input, output, cached): ${prices.join("; ")}`,
    "", table([head, ...rows]), "", ...asked, "",
    "actual + saved = baseline, to the nano-dollar, in every row of the ledger; actual and baseline are those of the provider's journal and the price list",
    `reduction with balanced routing and cache at the baseline's quality: ${reduction.toFixed(2)} % (at least ${LEAST_PERCENT} %)`,
  ].join("\n");
}

const json = (value) => JSON.stringify(value, (_, v) => (typeof v === "bigint" ? v.toString() : v), 1);

async function main() {
  const { trace, requests: count, repeats, json: asJson } = readOptions();
  await run("./scripts/build", [], { cwd: root, show: true });
  const rows = trace === undefined ? generated(count) : sampled(await traced(trace), count);
  const source = trace === undefined ? "the generator" : "the trace";
  const requests = repeated(rows, repeats);
  const prices = Object.fromEntries(Object.keys(QUALITY).map((target) => [target.split("/")[1], priceOf(target)]));
  const results = await measure({ ways: WAYS, requests, baseline: BASELINE, prices, say });
  for (const [n, { name, asked }] of results.entries()) {
    const poor = Object.keys(asked).filter((model) => QUALITY[`openai/${model}`] < (WAYS[n].floor ?? 0));
    if (poor.length > 0) throw new Error(`${name} asked ${poor.join(", ")}, below the floor`);
  }
  const { actual, counterfactual } = results[WAYS.findIndex(({ counts }) => counts)];
  const reduction = percent(counterfactual - actual, counterfactual);
  const told = asJson
    ? json({ source, requests: requests.length, repeats, quality: QUALITY, least_percent: LEAST_PERCENT, reduction_percent: reduction, results })
    : lines({ requests, source, repeats, results, reduction });
  return { told, met: reduction >= LEAST_PERCENT };
}

let code;
for (const [signal, status] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129]]) {
  process.on(signal, () => {
    code ??= status;
    stopAll().then(() => process.exit(status));
  });
}

try {
  const { told, met } = await main();
  await new Promise((resolve) => process.stdout.write(`\n${told}\n`, resolve));
  code ??= met ? 0 : 1;
} catch (error) {
  if (code === undefined) {
    say(`bench: ${error.message}`);
    if (error instanceof Misuse) say("see scripts/bench --help");
  }
  code ??= error instanceof Misuse ? 2 : 1;
}
await stopAll();
process.exit(code);
