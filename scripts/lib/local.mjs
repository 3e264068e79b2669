// Runs the built gateway on plain workerd, on this machine. Plain workerd and
// not Miniflare, because only there a client that goes away is seen by the
// worker.
import { spawn } from "node:child_process";
import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { gatewayConfig } from "./config.mjs";

const HOST = "127.0.0.1";
const LIB = path.dirname(fileURLToPath(import.meta.url));
/** How long a SIGTERM may take before SIGKILL follows. */
const STOP_GRACE_MS = 3000;
/** How long a start may take; a cold disk and a busy machine are allowed for. */
const START_LIMIT_MS = 60_000;
/** How many lines of output an error message may quote. */
const KEPT_LINES = 40;

const PACKAGES = {
  "linux-x64": "workerd-linux-64",
  "linux-arm64": "workerd-linux-arm64",
  "darwin-x64": "workerd-darwin-64",
  "darwin-arm64": "workerd-darwin-arm64",
};

/** The workerd program of this platform. */
export function workerdPath() {
  const platform = `${process.platform}-${process.arch}`;
  const name = PACKAGES[platform];
  if (!name) throw new Error(`workerd has no package for ${platform}`);
  try {
    return createRequire(import.meta.url).resolve(`@cloudflare/${name}/bin/workerd`);
  } catch {
    throw new Error(`@cloudflare/${name} is not installed: run scripts/setup`);
  }
}

/**
 * Starts the gateway and resolves when both sockets listen.
 *
 * @param {object} options
 * @param {string} options.bundleDir   folder with index.js and index.wasm
 * @param {string} options.stateDir    folder for databases; reused, also after a kill
 * @param {number} [options.port]      0, the default, lets the system pick
 * @param {Record<string, string | undefined>} [options.env]  variables and secrets of the worker
 * @param {boolean} [options.quiet]    print nothing of the worker's output
 * @param {(line: string, stream: "stdout" | "stderr") => void} [options.onLog]  takes the output instead
 * @param {boolean} [options.detached] own process group: a Ctrl-C in the terminal does not reach it
 * @param {string} [options.kvAddress] host:port of an HTTP server to use as the KV namespace
 * @param {number} [options.kvMinTtlS] smallest TTL the built-in KV accepts, 60 as on Cloudflare
 * @param {string} [options.aiAddress] host:port of a server that answers for Workers AI, as the binding AI
 * @param {string} [options.program]   what to run in place of workerd
 * @param {string[]} [options.v8Flags]
 * @param {number} [options.startLimitMs]  how long the start may take
 * @param {string} [options.cfHeader]  request header whose value (JSON) the worker sees as `request.cf`
 * @returns {Promise<Gateway>}
 *
 * @typedef {object} Gateway
 * @property {string} baseUrl     without a trailing slash
 * @property {number} port
 * @property {string} controlUrl  POST {controlUrl}/scheduled?cron=…&time=<ms> fires the cron handler
 * @property {number} pid
 * @property {Promise<{code: number | null, signal: string | null}>} exited
 * @property {() => Promise<void>} stop  SIGTERM, after 3 s SIGKILL; resolves when the process is gone
 * @property {() => Promise<void>} kill  SIGKILL at once; resolves when the process is gone
 */
export async function startGateway({
  bundleDir,
  stateDir,
  port = 0,
  env = {},
  quiet = false,
  onLog,
  detached = false,
  kvAddress,
  kvMinTtlS = 60,
  aiAddress,
  cfHeader,
  program = workerdPath(),
  v8Flags,
  startLimitMs = START_LIMIT_MS,
}) {
  // On Cloudflare the platform tells that a client left. Here a client that closes politely shows only
  // when something is written to it, so silent streams are written to often.
  const defaults = { TOLLGATE_HEARTBEAT_MS: "500", TOLLGATE_HOLD_MS: "500" };
  const variables = Object.fromEntries(Object.entries({ ...defaults, ...env }).filter(([, value]) => value != null));
  const configFile = await writeState({ bundleDir, stateDir, port, kvAddress, kvMinTtlS, aiAddress, cfHeader, v8Flags, names: Object.keys(variables) });

  // --experimental admits the control worker's flag; the gateway sets none.
  const child = spawn(program, ["serve", "--experimental", "--control-fd=3", configFile], {
    env: { PATH: process.env.PATH, HOME: process.env.HOME, TZ: "UTC", ...sslVariables(), ...variables },
    stdio: ["ignore", "pipe", "pipe", "pipe"],
    detached,
  });
  const lastLines = followOutput(child, quiet, onLog);
  const exited = new Promise((resolve) => child.once("exit", (code, signal) => resolve({ code, signal })));
  const killAtExit = () => child.kill("SIGKILL");
  process.once("exit", killAtExit);
  exited.then(() => process.off("exit", killAtExit));

  let ports;
  try {
    ports = await listening(child, exited, ["http", "control"], startLimitMs);
  } catch (error) {
    child.kill("SIGKILL");
    const quoted = lastLines.join("\n");
    throw new Error(quoted ? `${error.message}:\n${quoted}` : error.message);
  }
  const alive = () => child.exitCode === null && child.signalCode === null;
  const kill = async () => {
    if (alive()) child.kill("SIGKILL");
    await exited;
  };
  const stop = async () => {
    if (alive()) child.kill("SIGTERM");
    const timer = setTimeout(kill, STOP_GRACE_MS);
    await exited;
    clearTimeout(timer);
  };
  return {
    baseUrl: `http://${HOST}:${ports.http}`,
    port: ports.http,
    controlUrl: `http://${HOST}:${ports.control}`,
    pid: child.pid,
    exited,
    stop,
    kill,
  };
}

/** Writes what workerd reads. The bundle is copied, so a later build cannot change a restart half-way. */
async function writeState({ bundleDir, stateDir, port, names, ...bindings }) {
  const root = path.resolve(stateDir);
  const doDir = path.join(root, "do");
  const bundle = path.join(root, "bundle");
  await mkdir(doDir, { recursive: true });
  await mkdir(bundle, { recursive: true });
  await Promise.all([
    copyFile(path.join(bundleDir, "index.js"), path.join(bundle, "index.js")),
    copyFile(path.join(bundleDir, "index.wasm"), path.join(bundle, "index.wasm")),
    copyFile(path.join(LIB, "kv.mjs"), path.join(bundle, "kv.mjs")),
    copyFile(path.join(LIB, "control.mjs"), path.join(bundle, "control.mjs")),
  ]);
  const configFile = path.join(root, "gateway.capnp");
  await writeFile(configFile, gatewayConfig({ host: HOST, port, doDir, variables: names, ...bindings }));
  return configFile;
}

/** Certificates may stand in an unusual place, which these name. */
function sslVariables() {
  const names = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
  return Object.fromEntries(names.filter((name) => process.env[name]).map((name) => [name, process.env[name]]));
}

/** Hands each line of output on, and returns the newest lines of stderr, kept up to date. */
function followOutput(child, quiet, onLog) {
  const lastLines = [];
  for (const stream of ["stdout", "stderr"]) {
    createInterface({ input: child[stream], crlfDelay: Infinity }).on("line", (line) => {
      if (stream === "stderr") lastLines.push(line);
      if (lastLines.length > KEPT_LINES) lastLines.shift();
      if (onLog) onLog(line, stream);
      else if (!quiet) process[stream].write(`${line}\n`);
    });
  }
  return lastLines;
}

/** The ports by socket name, from workerd's messages on the control pipe. */
function listening(child, exited, sockets, limitMs) {
  return new Promise((resolve, reject) => {
    const ports = {};
    const timer = setTimeout(() => reject(new Error("workerd does not listen")), limitMs);
    const lines = createInterface({ input: child.stdio[3] });
    lines.on("line", (line) => {
      const message = JSON.parse(line);
      if (message.event !== "listen") return;
      ports[message.socket] = message.port;
      if (sockets.every((socket) => ports[socket])) {
        clearTimeout(timer);
        resolve(ports);
      }
    });
    child.once("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    // "close" comes after the last output, so the error message is complete.
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      reject(new Error(`workerd ended with ${signal ?? `code ${code}`}`));
    });
  });
}
