// Starts programs, remembers them, measures their CPU time and stops them by pid.
import { execFileSync, spawn } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { workerdPath } from "../../scripts/lib/local.mjs";

/** How long a program may take to be ready, in milliseconds. */
const START_LIMIT_MS = 20_000;

/** How `workerd` is run where it is not in the usual way: `program`, `v8Flags` and `startLimitMs` of `startGateway`. */
export const runtime = {};

const running = new Set();
const cleanups = new Set();
let stopped;

/** Has `stop` called at the end, whatever the end is. Returns a function that calls it now. */
export function atEnd(stop) {
  cleanups.add(stop);
  return async () => {
    if (cleanups.delete(stop)) await stop();
  };
}

/** A child that is stopped with everything else. `stdio` as for spawn. */
function launch(command, args, options) {
  if (stopped) throw new Error("stopping");
  const child = spawn(command, args, options);
  child.closed = new Promise((resolve) => {
    child.once("error", (error) => resolve({ error }));
    child.once("close", (code, signal) => resolve({ code, signal }));
  });
  running.add(child);
  child.closed.then(() => running.delete(child));
  return child;
}

async function end(child) {
  if (child.exitCode !== null || child.signalCode !== null || !child.pid) return;
  // The compilers below cargo do not end with it.
  const below = [...tree(child.pid, processTable())].filter((pid) => pid !== child.pid);
  child.kill("SIGTERM");
  for (const pid of below) {
    try {
      process.kill(pid, "SIGTERM");
    } catch {
      // Gone by itself.
    }
  }
  const late = sleep(2000, "late", { ref: false });
  if ((await Promise.race([child.closed, late])) === "late") child.kill("SIGKILL");
  await child.closed;
}

/** Stops everything that was started here, then runs what `atEnd` was given, newest first. */
export function stopAll() {
  stopped ??= stopEverything();
  return stopped;
}

async function stopEverything() {
  await Promise.all([...running].map(end));
  const left = [...cleanups].reverse();
  cleanups.clear();
  for (const stop of left) await stop().catch(() => {});
}

// The last resort, when this program dies of an error of its own.
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** Runs a program to its end and returns what it printed; its errors and status become an Error. */
export async function run(command, args, { show = false, ...options } = {}) {
  const child = launch(command, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
  let out = "";
  let err = "";
  child.stdout.on("data", (data) => (show ? process.stderr.write(data) : (out += data)));
  child.stderr.on("data", (data) => (show ? process.stderr.write(data) : (err = (err + data).slice(-4000))));
  const { code, signal, error } = await child.closed;
  if (error?.code === "ENOENT") throw new Error(`${command} is not installed`);
  if (error) throw error;
  if (code !== 0) throw new Error(`${command} ended with ${signal ?? code}\n${err.trim()}`);
  return out;
}

/**
 * Starts a server that prints one JSON line with its port on file descriptor `fd` when it is ready.
 * Resolves to {pid, port, stop}.
 */
export async function serve(name, command, args, { fd = 1, env } = {}) {
  const stdio = ["ignore", "pipe", "pipe", "pipe"];
  const child = launch(command, args, { stdio, env: { ...process.env, ...env } });
  let errors = "";
  child.stderr.on("data", (data) => (errors = (errors + data).slice(-4000)));
  const port = new Promise((resolve) => {
    let text = "";
    child.stdio[fd].on("data", (data) => {
      text += data;
      const line = text.split("\n").find((l) => l.includes('"port"'));
      if (line && text.includes("\n")) resolve(JSON.parse(line).port);
    });
  });
  if (fd !== 1) child.stdout.resume();
  const { startLimitMs = START_LIMIT_MS } = runtime;
  const first = await Promise.race([port, child.closed, sleep(startLimitMs, "late", { ref: false })]);
  if (typeof first !== "number") {
    await end(child);
    const why = first === "late" ? `was not ready after ${startLimitMs / 1000} s` : (first.error?.message ?? "ended at once");
    throw new Error(`${name} ${why}\n${errors.trim()}`);
  }
  return { pid: child.pid, port: first, stop: () => end(child) };
}

/** `workerd serve` with a configuration file; the port is the one the system picked. */
export function serveWorkerd(name, args) {
  return serve(name, runtime.program ?? workerdPath(), ["serve", "--control-fd=3", ...args], { fd: 3 });
}

const proc = process.platform === "linux";
const ticks = proc ? Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" })) : 0;

/** [pid, parent, CPU seconds] of one process from /proc; undefined when it is gone. */
function statOf(pid) {
  try {
    // The second field is the program's name in brackets and may hold spaces.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").pop().split(" ");
    return [pid, Number(fields[1]), (Number(fields[11]) + Number(fields[12])) / ticks];
  } catch {
    return undefined;
  }
}

/** [[dd-]hh:]mm:ss[.cc], as ps prints it, in seconds. */
function seconds(text) {
  const [days, clock] = text.includes("-") ? text.split("-") : ["0", text];
  return Number(days) * 86400 + clock.split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
}

function processTable() {
  if (proc) {
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .map((name) => statOf(Number(name)))
      .filter(Boolean);
  }
  const text = execFileSync("ps", ["-A", "-o", "pid=,ppid=,time="], { encoding: "utf8" });
  return text
    .trim()
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .map(([pid, parent, time]) => [Number(pid), Number(parent), seconds(time)]);
}

/** The process and everything below it. */
function tree(pid, table) {
  const pids = new Set([pid]);
  for (let before = 0; before !== pids.size; ) {
    before = pids.size;
    for (const [child, parent] of table) if (pids.has(parent)) pids.add(child);
  }
  return pids;
}

/** CPU seconds, user and system, of a process and of everything below it. */
export function cpuSeconds(pid) {
  const table = processTable();
  const pids = tree(pid, table);
  return table.reduce((sum, [id, , used]) => (pids.has(id) ? sum + used : sum), 0);
}
