// Chance that can be had again: the same seed gives the same numbers.
import { randomInt } from "node:crypto";

/** The seed in the variable `TOLLGATE_SEED`, or a new one. */
export const seedOfRun = () => Number(process.env.TOLLGATE_SEED ?? randomInt(1, 2 ** 31)) >>> 0;

/** A function that gives numbers in [0, 1). Mulberry32. */
export function chance(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let n = Math.imul(state ^ (state >>> 15), state | 1);
    n = (n + Math.imul(n ^ (n >>> 7), n | 61)) ^ n;
    return ((n ^ (n >>> 14)) >>> 0) / 2 ** 32;
  };
}
