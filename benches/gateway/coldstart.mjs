// From starting a process to its first answer with status 200, each start with a fresh process.
import { performance } from "node:perf_hooks";
import { table } from "./report.mjs";
import { probe, targets } from "./targets.mjs";

async function once(name, mock, store) {
  const begin = performance.now();
  const target = await targets[name].start(mock, store);
  const listening = performance.now() - begin;
  await probe(name, target);
  const answered = performance.now() - begin;
  await target.stop();
  return { listening_ms: listening, first_answer_ms: answered };
}

const middle = (values) => values.sort((a, b) => a - b)[Math.floor((values.length - 1) / 2)];

/** {name: {listening_ms, first_answer_ms, starts}}: medians, and every start. */
export async function coldStart(names, mock, store, rounds, shuffled) {
  // Unmeasured: it fills the file cache, and creates the gateway's tenant, which later starts find on disk.
  for (const name of names) await once(name, mock, store);
  const starts = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const name of shuffled(names)) starts[name].push(await once(name, mock, store));
  }
  return Object.fromEntries(
    names.map((name) => [
      name,
      {
        listening_ms: middle(starts[name].map((s) => s.listening_ms)),
        first_answer_ms: middle(starts[name].map((s) => s.first_answer_ms)),
        starts: starts[name],
      },
    ]),
  );
}

export function coldStartTable(all) {
  const rows = Object.entries(all).map(([name, { listening_ms, first_answer_ms, starts }]) => {
    const times = starts.map((s) => s.first_answer_ms);
    return [name, listening_ms.toFixed(0), first_answer_ms.toFixed(0), `${Math.min(...times).toFixed(0)} to ${Math.max(...times).toFixed(0)}`];
  });
  return table([["target", "listening ms", "first 200 ms", "range"], ...rows]);
}
