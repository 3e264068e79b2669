// What is asked: lengths of requests and answers, and which requests are repeated.
import { readFile } from "node:fs/promises";
import { chance } from "../../tests/gateway/chance.mjs";

// Fitted to the conversation trace of Azure's LLM inference dataset 2023 (19,366 requests; README.md): the
// quantiles of the requests' tokens, and for each fifth of the requests, by length, those of the answers'.
const INPUT = {
  at: [0, 0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99, 0.999, 1],
  tokens: [2, 29, 181, 207, 372, 387, 396, 403, 414, 703, 984, 1020, 1045, 1071, 1097, 1130, 1189, 1315, 1876, 2734, 4083, 4142, 4167, 14050],
};
const OUTPUT_AT = [0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1];
const OUTPUT = [
  [7, 16, 25, 68, 105, 167, 212, 217, 260, 1000],
  [25, 74, 81, 88, 97, 111, 135, 148, 184, 739],
  [10, 76, 95, 385, 399, 421, 461, 532, 638, 1000],
  [26, 80, 138, 378, 399, 424, 477, 549, 652, 1000],
  [15, 34, 39, 50, 77, 115, 162, 200, 407, 918],
];
const SEED = 20231116;

/** The value at a place from 0 to 1, in straight lines between the quantiles. */
function quantile(at, values, place) {
  const above = Math.max(1, at.findIndex((p) => p >= place));
  const [left, right] = [at[above - 1], at[above]];
  return Math.round(values[above - 1] + ((place - left) / (right - left)) * (values[above] - values[above - 1]));
}

/** Requests with the trace's distributions: `[{input, output}]`. */
export function generated(count, seed = SEED) {
  const random = chance(seed);
  return Array.from({ length: count }, () => {
    const place = random();
    const fifth = Math.min(OUTPUT.length - 1, Math.floor(place * OUTPUT.length));
    return { input: quantile(INPUT.at, INPUT.tokens, place), output: quantile(OUTPUT_AT, OUTPUT[fifth], random()) };
  });
}

/** The requests of a trace with the columns TIMESTAMP,ContextTokens,GeneratedTokens, in their order. */
export async function traced(file) {
  const [head, ...lines] = (await readFile(file, "utf8")).trim().split(/\r?\n/);
  if (head !== "TIMESTAMP,ContextTokens,GeneratedTokens") throw new Error(`${file} has other columns: ${head.slice(0, 100)}`);
  return lines.map((line, at) => {
    const [, input, output] = line.split(",").map(Number);
    if (!(input > 0 && output > 0)) throw new Error(`${file}, line ${at + 2}: ${line.slice(0, 100)}`);
    return { input, output };
  });
}

/** So many of them, evenly spread. */
export const sampled = (rows, count) =>
  count >= rows.length ? rows : Array.from({ length: count }, (_, n) => rows[Math.floor((n * rows.length) / count)]);

/**
 * Makes `percent` of the requests repetitions: each time one of those before it, to the letter, the k-th of
 * them with a probability in proportion to 1/k^zipf. Gives each request the number `same`: equal numbers are
 * equal requests.
 */
export function repeated(rows, { percent, zipf, seed = SEED }) {
  const random = chance(seed + 1);
  const distinct = [];
  const weights = [];
  let total = 0;
  return rows.map((row) => {
    if (distinct.length > 0 && random() * 100 < percent) {
      let left = random() * total;
      const at = weights.findIndex((weight) => (left -= weight) < 0);
      return distinct[Math.max(0, at)];
    }
    const fresh = { ...row, same: distinct.length };
    distinct.push(fresh);
    weights.push(1 / distinct.length ** zipf);
    total += weights.at(-1);
    return fresh;
  });
}
