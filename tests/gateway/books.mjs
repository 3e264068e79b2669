// What a tenant's object has stored, as bookkeeping: lines, sums and balances.
import assert from "node:assert/strict";

const nameOf = ({ b, s }) => `${b} ${s ?? ""}`.trim();
export const idOf = ({ e, s }) => `${e}/${s}`;

/** The lines of the journal, each with the number `row` of its row. The journal must have no gap. */
export function linesOf({ journal }) {
  const rows = journal.toSorted((a, b) => a.n - b.n);
  assert.deepEqual(rows.map(({ n }) => n), rows.map((_, i) => i + 1), "the journal has no gap");
  const facts = rows.flatMap((row) => JSON.parse(row.facts).map((fact) => ({ row: row.n, lines: fact.lines?.lines ?? [] })));
  return facts.flatMap(({ row, lines }) => lines.map((line) => ({ row, ...line })));
}

/** What the lines come to, by account, in nano-dollars. */
export function sumsOf(lines) {
  const sums = new Map();
  for (const { a, c } of lines.flatMap((line) => line.charges)) sums.set(nameOf(a), (sums.get(nameOf(a)) ?? 0) + c);
  return sums;
}

/** What the snapshot says was spent, by account, and the last row of the journal that it contains. */
export function balancesOf({ snapshot }) {
  const parts = snapshot.toSorted((a, b) => a.part - b.part).map(({ body }) => body);
  if (parts.length === 0) return { row: 0, spent: new Map() };
  const { journal, accounts } = JSON.parse(parts.join(""));
  return { row: journal, spent: new Map(accounts.map(([account, { s }]) => [nameOf(account), s])) };
}

/** Fails unless the balances of the snapshot are the sums of the lines that it contains. */
export function assertBalanced(tables, lines) {
  const { row, spent } = balancesOf(tables);
  const sums = sumsOf(lines.filter((line) => line.row <= row));
  const without0 = (amounts) => [...amounts].filter(([, amount]) => amount !== 0).sort();
  assert.deepEqual(without0(spent), without0(sums), "the balances are the sums of the lines");
}

/** The lines by permit. */
export function endsOf(lines) {
  const ends = new Map();
  for (const line of lines) {
    const id = idOf(line.permit);
    if (ends.has(id)) ends.get(id).push(line);
    else ends.set(id, [line]);
  }
  return ends;
}

/** The most of `times` that lie in any window of `length`, and where such a window ends. Times in order. */
export function fullest(times, length) {
  let most = { count: 0, end: null };
  let from = 0;
  for (let to = 0; to < times.length; to += 1) {
    while (times[from] <= times[to] - length) from += 1;
    if (to - from + 1 > most.count) most = { count: to - from + 1, end: times[to] };
  }
  return most;
}
