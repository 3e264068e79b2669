// Runs the gateway for development until Ctrl-C. Called by scripts/dev.
import { spawn } from "node:child_process";
import { mkdirSync, openSync, readFileSync, rmSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { finishDev, readDev, reapLeftovers, stopRunning, supervisorAlive, writeDev } from "./devfile.mjs";
import { requestLine } from "./requests.mjs";
import { ROOT, ensureDemo, startStack } from "./stack.mjs";
import { configuredVars, localSecrets } from "./vars.mjs";

const HOME = path.join(ROOT, ".tollgate");
const SECRETS = path.join(HOME, "secrets.json");
const LOG = path.join(HOME, "dev.log");
const DEFAULT_PORT = 8787;
const MINUTE_MS = 60_000;
const CRON = "* * * * *";
const LOG_LINES_SHOWN = 20;

const { values: options } = parseArgs({
  options: {
    port: { type: "string" },
    fresh: { type: "boolean" },
    detach: { type: "boolean" },
    stop: { type: "boolean" },
    // Set by --detach for the process that it leaves behind.
    supervised: { type: "boolean" },
  },
});

try {
  if (options.stop) {
    console.log((await stopRunning(HOME)) ? "stopped" : "nothing is running");
  } else {
    const running = readDev(HOME);
    if (supervisorAlive(running)) {
      throw new Error(`already running at ${running.base_url}; \`scripts/dev --stop\` stops it`);
    }
    await reapLeftovers(running);
    if (options.fresh) rmSync(HOME, { recursive: true, force: true });
    mkdirSync(HOME, { recursive: true, mode: 0o700 });
    if (options.detach) await detach();
    else await supervise();
  }
} catch (error) {
  console.error(`dev: ${error.message}`);
  process.exit(1);
}

/** Starts everything, says so, and stays until a signal or until a part ends. */
async function supervise() {
  let stack;
  let stopping = false;
  const stop = async (code) => {
    // A second Ctrl-C does not wait. Leaving kills what was started.
    if (stopping || !stack) process.exit(code);
    stopping = true;
    await stack.stop();
    finishDev(HOME);
    process.exit(code);
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => stop(0));

  const configured = configuredVars(path.join(ROOT, ".dev.vars"));
  const vars = { TOLLGATE_LOG: "requests", ...localSecrets(SECRETS), ...configured };
  const gateway = { stateDir: path.join(HOME, "state"), port: await choosePort(), onLog: show };
  // Own process groups: a Ctrl-C reaches this process only, which then stops the others in order.
  stack = await startStack({ vars, gateway, detached: true });
  const { baseUrl, controlUrl } = stack.gateway;
  const previousKey = readDev(HOME)?.demo_key;
  const dev = {
    base_url: baseUrl,
    demo_key: previousKey,
    operator_token: vars.TOLLGATE_ADMIN_TOKEN,
    simulator_url: stack.simulator.url,
    control_url: controlUrl,
    pids: { gateway: stack.gateway.pid, simulator: stack.simulator.pid, supervisor: process.pid },
  };
  writeDev(HOME, dev);
  try {
    dev.demo_key = await ensureDemo({ baseUrl, adminToken: vars.TOLLGATE_ADMIN_TOKEN, key: previousKey });
  } catch (error) {
    console.error(`dev: ${error.message}`);
    await stop(1);
  }
  writeDev(HOME, dev);
  fireCron(controlUrl);
  const parts = { "the gateway": stack.gateway, "the simulated provider": stack.simulator };
  for (const [name, part] of Object.entries(parts)) {
    part.exited.then(({ code, signal }) => {
      if (stopping) return;
      console.error(`dev: ${name} ended (${signal ?? `code ${code}`})`);
      stop(1);
    });
  }
  const text = banner(dev, configured);
  if (!options.supervised) {
    console.log(`${text}\nCtrl-C stops everything.\n`);
    return;
  }
  process.send(text);
  process.disconnect();
}

/** Leaves a supervisor behind and returns when it is ready. */
async function detach() {
  const argv = process.argv.slice(2).filter((arg) => arg !== "--detach" && arg !== "--fresh");
  const log = openSync(LOG, "w", 0o600);
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), "--supervised", ...argv], {
    cwd: ROOT,
    detached: true,
    stdio: ["ignore", log, log, "ipc"],
  });
  const text = await new Promise((resolve, reject) => {
    child.once("message", resolve);
    child.once("exit", () => reject(new Error(`it did not start:\n${lastLines(LOG)}`)));
  });
  child.unref();
  console.log(`${text}\nIt goes on in the background. Log: .tollgate/dev.log. scripts/dev --stop stops it.`);
}

const lastLines = (file) => readFileSync(file, "utf8").trimEnd().split("\n").slice(-LOG_LINES_SHOWN).join("\n");

/** The wanted port, or for the default one another when it is taken. */
async function choosePort() {
  const wanted = Number(options.port ?? DEFAULT_PORT);
  if (!Number.isInteger(wanted) || wanted < 0 || wanted > 65_535) throw new Error(`--port ${options.port} is not a port`);
  if (await isFree(wanted)) return wanted;
  if (options.port) throw new Error(`port ${wanted} is taken`);
  console.error(`dev: port ${wanted} is taken, so the system picks another. --port N names one.`);
  return 0;
}

function isFree(port) {
  return new Promise((resolve, reject) => {
    const probe = net.createServer();
    probe.once("error", (error) => (error.code === "EADDRINUSE" ? resolve(false) : reject(error)));
    probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)));
  });
}

/** Cloudflare fires the cron trigger at each full minute; so does this. */
function fireCron(controlUrl) {
  const wait = MINUTE_MS - (Date.now() % MINUTE_MS);
  setTimeout(async () => {
    fireCron(controlUrl);
    const time = Math.round(Date.now() / MINUTE_MS) * MINUTE_MS;
    try {
      const answer = await fetch(`${controlUrl}/scheduled?cron=${encodeURIComponent(CRON)}&time=${time}`, { method: "POST" });
      if (!answer.ok) console.error(`cron: ${answer.status} ${await answer.text()}`);
    } catch (error) {
      console.error(`cron: ${error.message}`);
    }
  }, wait);
}

function show(line, stream) {
  process[stream].write(`${requestLine(line) ?? line}\n`);
}

function banner(dev, configured) {
  const providers = Object.keys(configured).filter((name) => name.endsWith("_API_KEY"));
  const token = configured.TOLLGATE_ADMIN_TOKEN ? "the configured one" : path.relative(process.cwd(), SECRETS);
  const curl = (body, flags = "") => `curl ${flags}${dev.base_url}/v1/chat/completions \\
    -H "Authorization: Bearer ${dev.demo_key}" \\
    -H "Content-Type: application/json" \\
    -d '${JSON.stringify(body)}'`;
  const body = { model: "fast", messages: [{ role: "user", content: "Hello" }] };
  return `
Tollgate listens on ${dev.base_url}

  Key             ${dev.demo_key}
  Dashboard       ${dev.base_url}/dashboard/demo
  Operator token  TOLLGATE_ADMIN_TOKEN: ${token}
  Models          fast, smart: a simulated provider on this machine, free of charge
  Provider keys   ${providers.join(", ") || "none; put for example OPENAI_API_KEY=… into .dev.vars"}

A request:

  ${curl(body)}

The same as a stream:

  ${curl({ ...body, stream: true }, "-N ")}
`;
}
