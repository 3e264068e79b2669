// The gateway's log lines, made short for a terminal.

/**
 * One readable line for a request's JSON line, or null when `line` is
 * something else.
 * @param {string} line
 * @param {Date} [now]
 */
export function requestLine(line, now = new Date()) {
  const entry = parsed(line);
  if (!entry || typeof entry.status !== "number" || !entry.method || !entry.path) return null;
  const time = [now.getHours(), now.getMinutes(), now.getSeconds()].map((part) => String(part).padStart(2, "0")).join(":");
  const parts = [time, entry.method, entry.path, entry.status, model(entry), tokens(entry), cost(entry), duration(entry), extras(entry)];
  return parts.filter((part) => part !== "" && part !== undefined).join("  ");
}

function parsed(line) {
  if (!line.startsWith("{")) return null;
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}

const model = (entry) => (entry.provider && entry.model ? `${entry.provider}/${entry.model}` : (entry.model ?? ""));

const tokens = ({ input_tokens: input, output_tokens: output }) =>
  input == null && output == null ? "" : `${input ?? "?"}+${output ?? "?"} tokens`;

const cost = (entry) => (entry.cost_usd == null ? "" : `$${entry.cost_usd}`);

function duration({ total_ms: total, overhead_ms: overhead }) {
  const whole = total == null ? "" : `${rounded(total)} ms`;
  return overhead == null ? whole : `${whole} (${rounded(overhead)} ms here)`.trim();
}

const rounded = (ms) => (ms < 10 ? Number(ms).toFixed(1) : String(Math.round(ms)));

const extras = (entry) => [entry.cache === "hit" ? "cached" : "", entry.code ?? ""].filter(Boolean).join(" ");
