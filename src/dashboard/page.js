// The dashboard: reads the control plane every few seconds and shows it. What comes from there was chosen by
// tenants and their callers, so it only ever becomes text.

const REFRESH_MS = 5_000;
/** What takes longer counts as unreachable. */
const PATIENCE_MS = 10_000;
const MINUTE_MS = 60_000;
const MINUTES = 60;
const STORED = "tollgate-operator-token";
const NONE = "–";
/** Most rows of the table of denials: it is there to see who is in trouble. */
const MAX_DENIALS = 20;
/** What a limit counts, in words. */
const COUNTED = {
  requests: "requests", input_tokens: "tokens in", output_tokens: "tokens out", tokens: "tokens", cost_usd: "money", concurrency: "requests at a time",
};

const $ = (id) => document.getElementById(id);
const tenant = tenantOf(location.pathname);
let token = sessionStorage.getItem(STORED);
let timer;
let busy = false;
let shownAt = null;

function tenantOf(path) {
  const part = path.split("/")[2] ?? "";
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

// Asking

class Problem extends Error {
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

async function read(route) {
  let answer;
  let body = null;
  try {
    const headers = { authorization: `Bearer ${token}` };
    answer = await fetch(`/admin/v1${route}`, { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    body = await answer.json().catch((error) => {
      if (error instanceof SyntaxError) return null;
      throw error;
    });
  } catch {
    throw new Problem("unreachable", "The gateway cannot be reached.");
  }
  if (answer.ok && body) return body;
  const why = body?.error?.message ?? "The answer is not the gateway's.";
  if (answer.status === 401) throw new Problem("token", "The gateway does not accept this token. Enter the value of TOLLGATE_ADMIN_TOKEN.");
  if (tenant && (answer.status === 404 || answer.status === 400)) throw new Problem("tenant", `There is no tenant “${tenant}”.`);
  throw new Problem("failed", `${answer.status}: ${why}`);
}

async function refresh() {
  clearTimeout(timer);
  if (!token || busy) return;
  busy = true;
  const asked = token;
  try {
    const show = tenant ? await readTenant() : await readFleet();
    if (asked !== token) return;
    show();
    shownAt = clock(new Date().toISOString());
    $("updated").textContent = `Updated ${shownAt}`;
    say("");
    only(tenant ? "tenant" : "fleet");
  } catch (error) {
    if (asked === token) explain(error);
  } finally {
    busy = false;
    if (token && asked !== token) refresh();
    else if (token && !document.hidden) timer = setTimeout(refresh, REFRESH_MS);
  }
}

function explain(error) {
  if (!(error instanceof Problem)) throw error;
  if (error.kind === "token") {
    forget();
    say(error.message);
    return;
  }
  const again = `Trying again every ${REFRESH_MS / 1000} seconds.`;
  const old = shownAt && error.kind !== "tenant" ? ` The figures below are from ${shownAt}.` : "";
  if (error.kind === "tenant") only(null);
  say(error.kind === "tenant" ? error.message : `${error.message} ${again}${old}`);
}

async function readFleet() {
  const cursor = new URLSearchParams(location.search).get("cursor");
  const fleet = await read(`/fleet${cursor ? `?cursor=${encodeURIComponent(cursor)}` : ""}`);
  return () => showFleet(fleet, cursor !== null);
}

async function readTenant() {
  const base = `/tenants/${encodeURIComponent(tenant)}`;
  const parts = ["limits", "budgets", "usage", "keys", "violations"];
  const [limits, budgets, usage, keys, violations] = await Promise.all(parts.map((what) => read(`${base}/${what}`)));
  return () => showTenant(limits.data, budgets, usage, keys.data, violations.data);
}

// Numbers and times

/** Nano-dollars of a decimal string. */
function nano(text) {
  const [whole, part = ""] = text.replace("-", "").split(".");
  const value = BigInt(whole) * 1_000_000_000n + BigInt(part.padEnd(9, "0"));
  return text.startsWith("-") ? -value : value;
}

/** Nano-dollars as dollars, exactly, with at least cents. */
function usd(value) {
  const size = value < 0n ? -value : value;
  const part = (size % 1_000_000_000n).toString().padStart(9, "0").replace(/0{1,7}$/, "");
  return `${value < 0n ? "-" : ""}$${count(size / 1_000_000_000n)}.${part}`;
}

const count = (value) => value.toLocaleString("en-US");
const sum = (rows, of) => rows.reduce((all, row) => all + of(row), 0);
const cost = (rows) => rows.reduce((all, row) => all + nano(row.cost_usd), 0n);
const clock = (time) => time.slice(11, 19);
const when = (time) => (time ? `${time.slice(0, 10)} ${clock(time)}` : NONE);

function span(ms) {
  const s = Math.ceil(ms / 1000);
  const [d, h, m] = [Math.floor(s / 86_400), Math.floor((s % 86_400) / 3600), Math.floor((s % 3600) / 60)];
  return [d && `${d} d`, h && `${h} h`, m && `${m} min`, (s % 60 || s === 0) && `${s % 60} s`].filter(Boolean).join(" ");
}

// Showing

function make(name, attributes = {}, ...inside) {
  const svg = ["svg", "g", "rect", "title"].includes(name);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...inside);
  return element;
}

/** Puts new content in, unless it is what is there already: a focus or a selection must outlive a refresh. */
function put(id, ...inside) {
  const place = $(id);
  const next = place.cloneNode(false);
  next.append(...inside);
  if (place.isEqualNode(next)) return;
  const focus = place.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  place.replaceChildren(...next.childNodes);
  if (focus) [...place.querySelectorAll("a")].find((a) => a.getAttribute("href") === focus)?.focus();
}

/** Rows of a table. A cell is a text, a number's text as [text], or [text, class]. The first one is the row's head. */
function rows(id, list, none) {
  const width = $(id).parentNode.querySelectorAll("thead th").length;
  const cell = (value, i) => {
    const [text, kind = "n"] = Array.isArray(value) ? value : [value, ""];
    return make(i === 0 ? "th" : "td", { ...(i === 0 && { scope: "row" }), ...(kind && { class: kind }) }, text);
  };
  const filled = list.map((row) => make("tr", {}, ...row.map(cell)));
  put(id, ...(filled.length ? filled : [make("tr", {}, make("td", { colspan: width, class: "any" }, none))]));
}

function facts(id, list) {
  put(id, ...list.map(([name, value, more]) => make("div", {}, make("dt", {}, name), make("dd", {}, value, ...(more ? [make("small", {}, more)] : [])))));
}

function showFleet({ data, last_cron: cron, next_cursor: next }, later) {
  const partly = next || later ? "on this page" : "";
  facts("fleet-facts", [
    ["Tenants", count(data.length), partly],
    ["Requests", count(sum(data, (t) => t.requests)), partly],
    ["Denied", count(sum(data, (t) => t.denied)), partly],
    ["Cost", usd(cost(data)), partly],
    ["Last cron run", cron ? clock(cron.finished_at) : "none yet", cron ? `${cron.finished_at.slice(0, 10)}, ${cron.tenants} tenants, ${cron.failed} failed` : ""],
  ]);
  const link = (id) => make("a", { href: `/dashboard/${encodeURIComponent(id)}` }, id);
  rows(
    "tenants",
    data.map((t) => [link(t.id), [count(t.requests)], [count(t.denied)], [usd(nano(t.cost_usd))], t.as_of ? when(t.as_of) : "not yet"]),
    "No tenants. PUT /admin/v1/tenants/{tenant} creates one.",
  );
  $("next").hidden = !next;
  if (next) $("next").href = `/dashboard?cursor=${encodeURIComponent(next)}`;
}

/** A rule's name, with a mark if it denies nothing. */
const named = (name, shadow) => (shadow ? make("span", {}, name, make("span", { class: "mark" }, "shadow")) : name);

function limitRow(l, whom) {
  const amount = (value) => (l.measure === "cost_usd" ? usd(nano(value)) : count(value));
  const none = Number(l.remaining) === 0;
  const refill = `${amount(l.amount)} in ${span(l.window_s * 1000)}`;
  const window = l.algorithm === null ? NONE : l.algorithm === "token_bucket" ? `refills ${refill}` : span(l.window_s * 1000);
  const free = l.reset_ms ? span(l.reset_ms) : NONE;
  return [
    named(l.id, l.shadow), [whom(l), "any"], COUNTED[l.measure] ?? l.measure, [`${amount(l.used)} of ${amount(l.limit)}`],
    [amount(l.remaining), none ? "n bad" : "n"], window, free,
  ];
}

function showDenials(violations, names) {
  const sums = new Map();
  for (const { key, rule, shadow, count: times } of violations) {
    const id = JSON.stringify([key, rule, shadow]);
    const sum = sums.get(id) ?? { key, rule, shadow, times: 0 };
    sum.times += times;
    sums.set(id, sum);
  }
  const sorted = [...sums.values()].sort((a, b) => b.times - a.times);
  const who = (key) => (key ? (names.get(key) ?? key) : "none that works");
  const line = (v) => [named(v.rule, v.shadow), [who(v.key), "any"], [count(v.times)]];
  rows("violations", sorted.slice(0, MAX_DENIALS).map(line), "Nothing was denied in the last hour.");
  const more = sorted.length - MAX_DENIALS;
  $("violations-more").hidden = more <= 0;
  $("violations-more").textContent = `And ${count(Math.max(0, more))} more: GET /admin/v1/tenants/${tenant}/violations lists all.`;
}

function showTenant(limits, budgets, usage, keys, violations) {
  const names = new Map(keys.map((key) => [key.id, key.name || key.id]));
  const whom = ({ scope, subject }) => {
    if (subject === null) return "the tenant";
    if (scope === "key") return `key ${names.get(subject) ?? subject}`;
    const kind = scope.replace(/^metadata:/, "");
    return subject === "*" ? `every other ${kind}` : `${kind} ${subject}`;
  };
  const denied = sum(usage.data.filter((r) => kind(r) === "denied"), (r) => r.requests);
  const all = sum(usage.data, (r) => r.requests);
  facts("tenant-facts", [
    ["Requests", count(all - denied), "last hour, without the denied"],
    ["Denied", count(denied), "last hour"],
    ["Cost", usd(cost(usage.data)), "last hour"],
    ["Under way", count(budgets.permits), budgets.orphaned_permits ? `and ${count(budgets.orphaned_permits)} from before a restart` : "now"],
  ]);
  put("budgets", ...(budgets.data.length ? budgets.data.map((b) => budget(b, whom)) : [make("p", { class: "note" }, "No budgets apply to this tenant or its keys.")]));
  rows(
    "limits",
    limits.map((l) => limitRow(l, whom)),
    "No limits apply to this tenant or its keys.",
  );
  showDenials(violations, names);
  $("usage-none").hidden = usage.data.length > 0;
  $("usage").hidden = usage.data.length === 0;
  showMinutes(usage);
  showModels(usage.data);
  const now = Date.now();
  const state = (key) => {
    if (key.revoked_at) return [`revoked ${when(key.revoked_at)}`, "any bad"];
    if (!key.expires_at) return "active";
    return Date.parse(key.expires_at) <= now ? [`expired ${when(key.expires_at)}`, "any bad"] : [`active until ${when(key.expires_at)}`, "any"];
  };
  rows("keys", keys.map((k) => [k.name || NONE, state(k), `${k.prefix}…${k.last4}`, when(k.created_at)]), `No keys. POST /admin/v1/tenants/${tenant}/keys makes one.`);
}

function budget(b, whom) {
  const limit = nano(b.limit_usd);
  const part = (text) => (limit > 0n ? Math.min(100, Number((nano(text) * 10_000n) / limit) / 100) : 100);
  const [spent, held] = [part(b.spent_usd), part(b.held_usd)];
  const parts = `${usd(nano(b.spent_usd))} spent, ${usd(nano(b.held_usd))} held, ${usd(nano(b.remaining_usd))} left`;
  const bar = make(
    "svg",
    { class: "bar", role: "img", "aria-label": `${b.id}: ${parts} of ${usd(limit)}`, viewBox: "0 0 100 1", preserveAspectRatio: "none" },
    make("rect", { class: "spent", x: 0, y: 0, width: spent, height: 1 }),
    make("rect", { class: "held", x: spent, y: 0, width: Math.min(held, 100 - spent), height: 1 }),
  );
  const zone = b.time_zone && b.time_zone !== "UTC" ? `, by the clocks of ${b.time_zone}` : "";
  const reset = b.rolling_s ? `in any ${span(b.rolling_s * 1000)}` : b.resets_at ? `resets at ${when(b.resets_at)}${zone}` : "never resets";
  const more = [
    ...b.top_ups.map((t) => `${usd(nano(t.amount_usd))} of it until ${when(t.expires_at)}`),
    ...b.thresholds.filter((t) => t.crossed_at).map((t) => `${t.percent} % reached ${when(t.crossed_at)}`),
  ];
  const head = make("p", {}, make("strong", {}, named(b.id, b.shadow)), make("span", {}, `${usd(limit)} for ${whom(b)}`));
  const notes = make("p", { class: "note" }, make("span", {}, parts), make("span", {}, reset), ...more.map((text) => make("span", {}, text)));
  return make("div", { class: "budget" }, head, bar, notes);
}

/** How a row of the usage counts in the chart. */
function kind({ outcome }) {
  if (outcome === "denied") return "denied";
  return outcome === "ok" || outcome === "cached" || outcome === "corrected" ? "served" : "failed";
}

function showMinutes({ to, data }) {
  // The gateway's clock and not the browser's: `to` is a minute from now.
  const last = Math.floor((Date.parse(to) - MINUTE_MS) / MINUTE_MS) * MINUTE_MS;
  const minutes = [...Array(MINUTES).keys()].map((i) => ({ at: last - (MINUTES - 1 - i) * MINUTE_MS, served: 0, denied: 0, failed: 0, cost: 0n }));
  for (const row of data) {
    const minute = minutes[MINUTES - 1 - (last - Date.parse(row.minute)) / MINUTE_MS];
    if (!minute) continue;
    minute[kind(row)] += row.requests;
    minute.cost += nano(row.cost_usd);
  }
  const name = (m) => new Date(m.at).toISOString().slice(11, 16);
  const words = (m) => `${name(m)}: ${m.served} served, ${m.denied} denied, ${m.failed} failed, ${usd(m.cost)}`;
  const most = Math.max(0, ...minutes.map((m) => m.served + m.denied + m.failed));
  const dearest = minutes.reduce((top, m) => (m.cost > top ? m.cost : top), 0n);
  const of = (value, top) => (top > 0 ? (100 * Math.max(0, Number(value))) / Number(top) : 0);
  chart("requests-chart", minutes, words, (m) => [["served", of(m.served, most)], ["denied", of(m.denied, most)], ["failed", of(m.failed, most)]]);
  chart("cost-chart", minutes, words, (m) => [["cost", of(m.cost, dearest)]]);
  $("requests-chart").setAttribute("aria-label", `Requests by minute, ${count(most)} in the busiest one`);
  $("cost-chart").setAttribute("aria-label", `Cost by minute, ${usd(dearest)} in the dearest one`);
  $("requests-top").textContent = `highest ${count(most)}`;
  $("cost-top").textContent = `highest ${usd(dearest)}`;
  $("hour-from").textContent = name(minutes[0]);
  $("hour-to").textContent = name(minutes[MINUTES - 1]);
  const busyOnes = minutes.filter((m) => m.served + m.denied + m.failed > 0 || m.cost !== 0n).reverse();
  rows("minutes", busyOnes.map((m) => [name(m), [count(m.served)], [count(m.denied)], [count(m.failed)], [usd(m.cost)]]), "No requests in the last hour.");
}

/** Stacked bars, a minute each. The heights are percentages. */
function chart(id, minutes, words, heights) {
  $(id).setAttribute("viewBox", `0 0 ${MINUTES} 100`);
  const bars = minutes.map((minute, i) => {
    let top = 100;
    const rects = heights(minute).filter(([, height]) => height > 0).map(([name, height]) => {
      top -= height;
      return make("rect", { class: name, x: i + 0.1, y: top, width: 0.8, height });
    });
    return make("g", {}, make("title", {}, words(minute)), make("rect", { class: "hit", x: i, y: 0, width: 1, height: 100 }), ...rects);
  });
  put(id, ...bars);
}

function showModels(data) {
  const groups = new Map();
  for (const row of data) {
    const name = row.provider ? `${row.provider}/${row.model}` : row.model;
    const key = JSON.stringify([name, row.status, row.outcome]);
    const group = groups.get(key) ?? { name, status: row.status, outcome: row.outcome, rows: [] };
    group.rows.push(row);
    groups.set(key, group);
  }
  const sorted = [...groups.values()].sort((a, b) => sum(b.rows, (r) => r.requests) - sum(a.rows, (r) => r.requests));
  const line = (g) => [
    g.name || NONE, [g.status ? String(g.status) : NONE], g.outcome, [count(sum(g.rows, (r) => r.requests))],
    [count(sum(g.rows, (r) => r.input_tokens))], [count(sum(g.rows, (r) => r.output_tokens))], [usd(cost(g.rows))],
  ];
  rows("models", sorted.map(line), "No requests in the last hour.");
}

// The page itself

function say(text) {
  // An unchanged alert is not read out again.
  if ($("message").textContent !== text) $("message").textContent = text;
  $("message").hidden = text === "";
}

function only(shown) {
  for (const id of ["ask", "fleet", "tenant"]) $(id).hidden = id !== shown;
  $("forget").hidden = !token;
}

function forget() {
  token = null;
  shownAt = null;
  clearTimeout(timer);
  sessionStorage.removeItem(STORED);
  $("updated").textContent = "";
  $("token").value = "";
  // Nothing of what the token opened stays behind.
  for (const id of ["fleet-facts", "tenants", "tenant-facts", "budgets", "limits", "minutes", "models", "keys", "violations", "requests-chart", "cost-chart"]) put(id);
  only("ask");
  $("token").focus();
}

$("title").textContent = tenant || "Fleet";
document.title = `${tenant || "Fleet"} · Tollgate`;
$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const entered = $("token").value.trim();
  say("");
  // A header could not carry anything else.
  if (!/^[\x21-\x7e]+$/.test(entered)) {
    say("A token has no spaces and only plain ASCII characters.");
    return;
  }
  token = entered;
  sessionStorage.setItem(STORED, token);
  refresh();
});
$("forget").addEventListener("click", () => {
  say("");
  forget();
});
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : refresh()));

if (document.documentElement.dataset.controlPlane === "closed") {
  token = null;
  say("The control plane is closed: the secret TOLLGATE_ADMIN_TOKEN is not set. Set it, and reload this page.");
} else if (token) {
  only(null);
  refresh();
} else {
  only("ask");
  $("token").focus();
}
