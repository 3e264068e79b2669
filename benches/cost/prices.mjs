// The price list's own figures, and what tokens cost by them: computed here, with nothing of the gateway's code,
// so that its ledger can be compared.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../gateway/paths.mjs";

/** "1.25" as a whole number of 10^-`places`. */
function fixed(text, places) {
  const [, sign, whole, part = ""] = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text) ?? [];
  if (whole === undefined || part.length > places) throw new Error(`no amount: ${text}`);
  const value = BigInt(whole) * 10n ** BigInt(places) + BigInt(part.padEnd(places, "0") || "0");
  return sign ? -value : value;
}

/** Nano-dollars of a decimal string, exactly. */
export const nano = (text) => fixed(text, 9);

/** Nano-dollars as dollars with four decimals, for people. */
export function dollars(amount) {
  const text = (amount < 0n ? -amount : amount).toString().padStart(10, "0");
  return `${amount < 0n ? "-" : ""}${text.slice(0, -9)}.${text.slice(-9, -5)}`;
}

/** Percent with two decimals of the part in the whole. */
export const percent = (part, whole) => (whole === 0n ? 0 : Number((part * 10_000n) / whole) / 100);

/** A model's row of the committed price list, in pico-dollars per token. */
export function priceOf(target) {
  const [provider, model] = target.split("/");
  const { providers } = JSON.parse(readFileSync(join(root, "src/core/catalog/prices.json"), "utf8"));
  const row = providers[provider]?.models.find((text) => text.split("|")[0] === model);
  if (!row) throw new Error(`the price list has no ${target}`);
  const [, price, , , ...more] = row.split("|");
  // Other service tiers are not asked for.
  const other = more.find((text) => !/^(batch|flex|priority) /.test(text));
  if (price.includes(">") || other) throw new Error(`${target} has more than one price: ${row}`);
  const [input, output, cached = input] = price.split(" ").map((text) => fixed(text, 6));
  return { input, output, cached, text: price };
}

/** Nano-dollars: summed, and rounded half up once. */
export function cost(price, { prompt, cached, completion }) {
  const pico = BigInt(prompt - cached) * price.input + BigInt(cached) * price.cached + BigInt(completion) * price.output;
  return (pico + 500n) / 1_000n;
}
