// .tollgate/dev.json: where the running gateway is, for people and scripts.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";

/** A supervisor gives each part 3 s to end. */
const STOP_LIMIT_MS = 8000;
const POLL_MS = 50;
/** What a process's command line must hold, so that a process number used again is not mistaken. */
const COMMANDS = { supervisor: "scripts/lib/dev.mjs", gateway: "state/gateway.capnp", simulator: "scripts/simulator.mjs" };

const fileIn = (home) => path.join(home, "dev.json");

export function readDev(home) {
  return existsSync(fileIn(home)) ? JSON.parse(readFileSync(fileIn(home), "utf8")) : null;
}

/** Replaces the file in one step: a reader sees the old or the new one. */
export function writeDev(home, dev) {
  const draft = `${fileIn(home)}.new`;
  writeFileSync(draft, `${JSON.stringify(dev, null, 2)}\n`, { mode: 0o600 });
  renameSync(draft, fileIn(home));
}

/** Nothing runs any more. The key stays, because it cannot be shown again. */
export function finishDev(home) {
  writeDev(home, { demo_key: readDev(home)?.demo_key });
}

export const supervisorAlive = (dev) => alive(dev, "supervisor");

/** Stops a running supervisor and all that it started. False when there was none. */
export async function stopRunning(home) {
  const dev = readDev(home);
  const running = Object.keys(COMMANDS).some((part) => alive(dev, part));
  if (alive(dev, "supervisor")) {
    process.kill(dev.pids.supervisor, "SIGTERM");
    const limit = Date.now() + STOP_LIMIT_MS;
    while (alive(dev, "supervisor") && Date.now() < limit) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  await reapLeftovers(dev, ["supervisor", "gateway", "simulator"]);
  if (running) finishDev(home);
  return running;
}

/** Kills what a supervisor left behind that was itself killed. */
export async function reapLeftovers(dev, parts = ["gateway", "simulator"]) {
  for (const part of parts) if (alive(dev, part)) process.kill(dev.pids[part], "SIGKILL");
  while (parts.some((part) => alive(dev, part))) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
}

function alive(dev, part) {
  const pid = dev?.pids?.[part];
  if (!pid) return false;
  try {
    return execFileSync("ps", ["-o", "command=", "-p", String(pid)], { encoding: "utf8" }).includes(COMMANDS[part]);
  } catch {
    // ps fails when there is no such process.
    return false;
  }
}
