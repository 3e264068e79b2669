// From rows to figures: medians over the rounds, and ratios as medians of the ratios of each round.

const FLOOR = "js-pass";
const PEER = "portkey";

function median(values) {
  const v = values.filter((x) => Number.isFinite(x)).sort((a, b) => a - b);
  if (v.length === 0) return null;
  const middle = Math.floor(v.length / 2);
  return v.length % 2 ? v[middle] : (v[middle - 1] + v[middle]) / 2;
}

const loadRate = (r) => r.load.per_second;
const loadCpu = (r) => r.load.cpu_us;
const singleP50 = (r) => r.single.p50_us;
const firstToken = (r) => r.first.first_token_us?.p50;
const pacedEvent = (r) => r.paced.cpu_us_per_event;
const fullEvent = (r) => r.full.cpu_us_per_event;

/** `rounds` is a list of {target: {shape: row}}. */
export function figures(rounds, names) {
  const over = (name, pick) => median(rounds.map((round) => pick(round[name])));
  const beside = (name, base, combine) => {
    if (!names.includes(name) || !names.includes(base)) return null;
    const values = rounds.map((round) => combine(round[name], round[base])).filter(Number.isFinite);
    return values.length ? { median: median(values), least: Math.min(...values), most: Math.max(...values) } : null;
  };
  const ratio = (name, base, pick) => beside(name, base, (a, b) => pick(a) / pick(b));
  const added = (name, pick) => (name === "direct" ? null : beside(name, "direct", (a, b) => pick(a) - pick(b)));
  return Object.fromEntries(
    names.map((name) => [
      name,
      {
        requests_per_second: over(name, loadRate),
        cpu_us_per_request: over(name, loadCpu),
        added_p50_us: added(name, singleP50),
        first_token_us: over(name, firstToken),
        added_first_token_us: added(name, firstToken),
        cpu_us_per_event_paced: over(name, pacedEvent),
        cpu_us_per_event_full: over(name, fullEvent),
        beside_floor: {
          requests_per_second: ratio(name, FLOOR, loadRate),
          cpu_per_request: ratio(name, FLOOR, loadCpu),
          cpu_per_event_paced: ratio(name, FLOOR, pacedEvent),
          cpu_per_event_full: ratio(name, FLOOR, fullEvent),
        },
        beside_portkey: {
          requests_per_second: ratio(name, PEER, loadRate),
          cpu_per_request: ratio(name, PEER, loadCpu),
        },
      },
    ]),
  );
}

const TARGETS = [
  { name: "CPU per request / js-pass", side: "beside_floor", most: 2.0 },
  { name: "CPU per request / Portkey on workerd", side: "beside_portkey", most: 0.9 },
];

/** What the gateway is measured against; `value` is null where a side was not measured. */
export function acceptance(all) {
  return TARGETS.map(({ name, side, most }) => {
    const value = all.tollgate?.[side].cpu_per_request ?? null;
    return { name, value, most, met: value === null ? null : value.median <= most };
  });
}

/** Everything that went wrong, one line each. */
export function problems(rounds) {
  return rounds.flatMap((round, i) =>
    Object.entries(round).flatMap(([name, cells]) =>
      Object.entries(cells).flatMap(([shape, row]) => row.problems.map((p) => `round ${i + 1}, ${name}, ${shape}: ${p}`)),
    ),
  );
}

const number = (value, digits) => (value === null || value === undefined ? "-" : value.toFixed(digits));
const millis = (us, digits = 2) => (us === null ? "-" : number((us.median ?? us) / 1000, digits));

export function table(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const line = (row) => `| ${row.map((cell, i) => (i ? cell.padStart(widths[i]) : cell.padEnd(widths[i]))).join(" | ")} |`;
  const rule = `|${widths.map((w, i) => (i ? `${"-".repeat(w + 1)}:` : "-".repeat(w + 2))).join("|")}|`;
  return [line(rows[0]), rule, ...rows.slice(1).map(line)].join("\n");
}

export function figuresTable(all) {
  const rows = Object.entries(all).map(([name, f]) => [
    name,
    number(f.requests_per_second, 0),
    number(f.cpu_us_per_request, 1),
    millis(f.added_p50_us),
    millis(f.first_token_us, 1),
    millis(f.added_first_token_us),
    number(f.cpu_us_per_event_paced, 1),
    number(f.cpu_us_per_event_full, 1),
  ]);
  const head = ["target", "req/s", "CPU/req µs", "added p50 ms", "TTFT ms", "added TTFT ms", "CPU/event µs", "at full speed"];
  return table([head, ...rows]);
}

export function ratiosTable(all) {
  const rows = Object.entries(all)
    .filter(([name]) => name !== "direct")
    .map(([name, { beside_floor: f, beside_portkey: p }]) => [
      name,
      number(f.requests_per_second?.median, 2),
      number(f.cpu_per_request?.median, 2),
      number(f.cpu_per_event_paced?.median, 2),
      number(f.cpu_per_event_full?.median, 2),
      number(p.requests_per_second?.median, 2),
      number(p.cpu_per_request?.median, 2),
    ]);
  const head = ["target", "req/s / js-pass", "CPU/req", "CPU/event", "at full speed", "req/s / Portkey", "CPU/req"];
  return table([head, ...rows]);
}

export function acceptanceLine({ name, value, most, met }) {
  const target = `(target <= ${most.toFixed(1)})`;
  if (value === null) return `${name} = not measured ${target}`;
  const range = `[${value.least.toFixed(2)} to ${value.most.toFixed(2)}]`;
  return `${name} = ${value.median.toFixed(2)} ${target} ${range} ${met ? "met" : "missed"}`;
}
