// A copy of the built gateway that tells what was said to its objects, and what they wrote. Nothing else
// of it is changed: every message and every row goes the way that it always goes.
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { call } from "./call.mjs";

/** What the spy's lines in the log begin with. */
const MARK = "spy ";
/** Where it answers with what it has counted. */
const ROUTE = "/__spy";

/**
 * Writes the copy into `dir`.
 *
 * @param {string} from    folder of the built bundle
 * @param {string} dir     where to; is made
 * @param {object} [options]
 * @param {boolean} [options.tell]  a line in the log for each permit, and for each acknowledged report
 */
export async function spiedBundle(from, dir, { tell = false } = {}) {
  const source = await readFile(path.join(from, "index.js"), "utf8");
  const exported = /export\s*\{([^{}]*)\}\s*;?\s*$/.exec(source);
  const names = exported?.[1].split(",").map((one) => one.trim().split(/\s+as\s+/)) ?? [];
  const nameOf = (outside) => names.find((one) => one.at(-1) === outside)?.[0];
  const [entry, object] = [nameOf("default"), nameOf("TenantObject")];
  if (!entry || !object) throw new Error("the bundle ends in a new form: tests/gateway/spy.mjs must follow");
  await mkdir(dir, { recursive: true });
  const added = `\n;(${spy})(${entry}, ${object}, ${JSON.stringify({ mark: MARK, route: ROUTE, tell })});\n`;
  await writeFile(path.join(dir, "index.js"), source + added);
  await copyFile(path.join(from, "index.wasm"), path.join(dir, "index.wasm"));
}

/** What the spy told in a line of the log; null if it is not the spy's. */
export const told = (line) => (line.startsWith(MARK) ? JSON.parse(line.slice(MARK.length)) : null);

/**
 * What was counted since the process started.
 *
 * @param {string} url  of the gateway
 * @returns {Promise<{calls: number, turns: Record<string, number>, rows: Record<string, number>, alarms: number, rings: number}>}
 *   calls to tenants' objects (but for those that only ask for live state), messages in them by command, rows written by table as the runtime counts them, alarms set, alarms that rang
 */
export async function counted(url) {
  const { status, text } = await call(url + ROUTE);
  if (status !== 200) throw new Error(`this gateway has no spy: ${status}`);
  return JSON.parse(text);
}

/** Runs inside the gateway, as text: it may use nothing of this module. */
function spy(entry, TenantObject, { mark, route, tell }) {
  const counts = { calls: 0, turns: {}, rows: {}, alarms: 0, rings: 0 };
  const add = (to, name, n) => (to[name] = (to[name] ?? 0) + n);

  /** The one name of a message: `"live"`, `{"admit": …}`. */
  const kind = (message) => (typeof message === "string" ? message : Object.keys(message)[0]);

  // A worker's side: what it asks a tenant's object.
  async function turn(stub, text) {
    const messages = text.split("\n").map((line) => JSON.parse(line));
    // Asking how things are is the tests' own doing.
    if (messages.some(({ command }) => kind(command) !== "live")) counts.calls += 1;
    for (const { command } of messages) add(counts.turns, kind(command), 1);
    const answer = await stub.turn(text);
    if (tell) answer.split("\n").forEach((line, i) => witness(messages[i], JSON.parse(line)));
    return answer;
  }
  function witness({ tenant, command }, reply) {
    const say = (line) => console.log(mark + JSON.stringify({ tenant, ...line }));
    if (reply.permit) say({ permit: reply.permit.id, at: reply.permit.at, model: command.admit.model });
    if (command.report && reply === "done") say({ acknowledged: command.report.reports.map((report) => report.permit) });
  }
  const watched = (namespace) => ({
    idFromName: (name) => namespace.idFromName(name),
    get: (id) => {
      const stub = namespace.get(id);
      return { turn: (text) => turn(stub, text) };
    },
  });
  let known;
  const around = (env) => (known ??= { ...env, TENANTS: watched(env.TENANTS) });
  const { fetch, scheduled } = entry;
  entry.fetch = (request, env, ctx) =>
    new URL(request.url).pathname === route ? Response.json(counts) : fetch.call(entry, request, around(env), ctx);
  entry.scheduled = (event, env, ctx) => scheduled.call(entry, event, around(env), ctx);

  // An object's side: what it writes. All objects share these classes of the runtime.
  let hooked = false;
  function hook(storage) {
    if (hooked) return;
    hooked = true;
    const sql = Object.getPrototypeOf(storage.sql);
    const { exec } = sql;
    sql.exec = function (statement, ...values) {
      const cursor = exec.call(this, statement, ...values);
      const rows = cursor.rowsWritten;
      if (rows > 0) add(counts.rows, /\b(?:INTO|UPDATE|FROM)\s+(\w+)/.exec(statement)?.[1] ?? "schema", rows);
      return cursor;
    };
    const alarms = Object.getPrototypeOf(storage);
    const { setAlarm } = alarms;
    alarms.setAlarm = function (...values) {
      counts.alarms += 1;
      return setAlarm.apply(this, values);
    };
  }
  const own = TenantObject.prototype;
  const { turn: ask, alarm: ring } = own;
  own.turn = function (text) {
    hook(this.ctx.storage);
    return ask.call(this, text);
  };
  own.alarm = function () {
    hook(this.ctx.storage);
    counts.rings += 1;
    return ring.call(this);
  };
}
