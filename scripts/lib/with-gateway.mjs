// Usage: node scripts/lib/with-gateway.mjs COMMAND [ARGUMENT…]
// Runs a command beside a fresh gateway and simulated provider, whose state is
// thrown away afterwards. The command finds them by TOLLGATE_BASE_URL,
// TOLLGATE_KEY, TOLLGATE_ADMIN_TOKEN, TOLLGATE_CONTROL_URL and SIMULATOR_URL.
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { ROOT, ensureDemo, startStack } from "./stack.mjs";

const [command, ...argv] = process.argv.slice(2);
const adminToken = "test-operator-token";
const vars = { TOLLGATE_ADMIN_TOKEN: adminToken, TOLLGATE_KEY_PEPPER: "test-pepper", TOLLGATE_LOG: "errors" };
// The secret with which the simulated Bedrock verifies signatures.
Object.assign(vars, { AWS_REGION: "eu-central-1", AWS_ACCESS_KEY_ID: "AKIASIMULATED", AWS_SECRET_ACCESS_KEY: "simulated-secret" });
const stateDir = await mkdtemp(path.join(os.tmpdir(), "tollgate-"));
try {
  const { gateway, simulator, stop } = await startStack({ vars, gateway: { stateDir } });
  try {
    const env = {
      ...process.env,
      TOLLGATE_BASE_URL: gateway.baseUrl,
      TOLLGATE_KEY: await ensureDemo({ baseUrl: gateway.baseUrl, adminToken }),
      TOLLGATE_ADMIN_TOKEN: adminToken,
      TOLLGATE_CONTROL_URL: gateway.controlUrl,
      SIMULATOR_URL: simulator.url,
    };
    const child = spawn(command, argv, { cwd: ROOT, env, stdio: "inherit" });
    // The command ends first, then what it used.
    for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
    process.exitCode = await new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (code) => resolve(code ?? 1));
      gateway.exited.then(() => child.kill("SIGTERM"));
    });
  } finally {
    await stop();
  }
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  await rm(stateDir, { recursive: true, force: true });
}
