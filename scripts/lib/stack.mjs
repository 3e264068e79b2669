// The gateway with the simulated provider beside it, and a tenant to call it with.
import { spawn } from "node:child_process";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { simulatedProviders } from "../simulator/providers.mjs";
import { startGateway } from "./local.mjs";

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const PRICE = { input_usd_per_mtok: "0.50", output_usd_per_mtok: "1.50" };
const DEMO_CONFIG = {
  models: {
    fast: { target: "simulated/sim-small-t200-i20-n40" },
    smart: { target: "simulated/sim-large-t400-i30-n80" },
  },
  limits: [{ id: "rpm", scope: "tenant", requests: 600, window_s: 60 }],
  budgets: [{ id: "monthly", scope: "tenant", limit_usd: "50", period: "month" }],
  cache: { enabled: true, ttl_s: 300 },
  prices: { "simulated/*": PRICE },
  unknown_price: "reject",
  permit: { lifetime_s: 660, expiry_charge: "worst_case" },
  timeouts: { first_byte_ms: 60_000, idle_ms: 60_000, total_ms: 600_000 },
};
const STOP_GRACE_MS = 3000;

/**
 * Starts the simulated provider and resolves when it listens. `args` are further options of it.
 * @returns {Promise<{url: string, pid: number, exited: Promise<unknown>, stop: () => Promise<void>}>}
 */
export async function startSimulator({ detached = false, args = [] } = {}) {
  // The pipe on its standard input closes with this process, however that ends.
  const argv = [path.join(ROOT, "scripts/simulator.mjs"), "--port", "0", "--exit-with-parent", ...args];
  const child = spawn(process.execPath, argv, { stdio: ["pipe", "pipe", "inherit"], detached });
  const exited = new Promise((resolve) => child.once("exit", (code, signal) => resolve({ code, signal })));
  const killAtExit = () => child.kill("SIGKILL");
  process.once("exit", killAtExit);
  exited.then(() => process.off("exit", killAtExit));
  const ready = new Promise((resolve) => createInterface({ input: child.stdout }).once("line", resolve));
  const line = await Promise.race([ready, exited]);
  if (typeof line !== "string") throw new Error("the simulated provider did not start");
  const stop = async () => {
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_GRACE_MS);
    await exited;
    clearTimeout(timer);
  };
  return { url: `http://127.0.0.1:${JSON.parse(line).port}`, pid: child.pid, exited, stop };
}

/** The worker's variables with the simulated provider added to whatever they already say. */
export function withSimulator(vars, simulatorUrl) {
  const providers = vars.TOLLGATE_PROVIDERS ? JSON.parse(vars.TOLLGATE_PROVIDERS) : {};
  const plainHosts = [vars.TOLLGATE_PLAIN_HTTP_HOSTS, new URL(simulatorUrl).host].filter(Boolean);
  return {
    ...vars,
    SIMULATED_API_KEY: "simulated",
    TOLLGATE_PROVIDERS: JSON.stringify({ ...simulatedProviders(simulatorUrl, PRICE), ...providers }),
    TOLLGATE_PLAIN_HTTP_HOSTS: plainHosts.join(","),
  };
}

/** Simulator and gateway together. `gateway` takes the options of startGateway. */
export async function startStack({ vars, gateway: options, detached = false }) {
  const simulator = await startSimulator({ detached });
  try {
    const env = withSimulator(vars, simulator.url);
    const gateway = await startGateway({ bundleDir: path.join(ROOT, "build"), detached, ...options, env });
    const stop = async () => {
      await Promise.all([gateway.stop(), simulator.stop()]);
    };
    return { gateway, simulator, stop };
  } catch (error) {
    await simulator.stop();
    throw error;
  }
}

/** Creates the tenant `demo` unless it is there, and a key unless `key` still works. Returns the key. */
export async function ensureDemo({ baseUrl, adminToken, key }) {
  const admin = (method, route, body) =>
    fetch(`${baseUrl}/admin/v1/tenants/demo${route}`, {
      method,
      headers: { authorization: `Bearer ${adminToken}`, "content-type": "application/json" },
      body: body && JSON.stringify(body),
    });
  const found = await admin("GET", "");
  // A tenant that somebody has changed since stays as it is.
  if (found.status === 404) await expectOk(await admin("PUT", "", { config: DEMO_CONFIG }), "create the tenant demo");
  else await expectOk(found, "read the tenant demo");
  if (key) {
    const answer = await fetch(`${baseUrl}/v1/models`, { headers: { authorization: `Bearer ${key}` } });
    await answer.body?.cancel();
    if (answer.ok) return key;
  }
  const created = await expectOk(await admin("POST", "/keys", { name: "demo" }), "create a key for the tenant demo");
  return created.key;
}

async function expectOk(answer, what) {
  const text = await answer.text();
  if (!answer.ok) throw new Error(`could not ${what}: ${answer.status} ${text}`);
  return text ? JSON.parse(text) : null;
}
