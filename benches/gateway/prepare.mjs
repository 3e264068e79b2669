// Builds the mock, the floors, the gateway and the peer, below .tools and build. What is there and current is
// left alone. scripts/setup ran before.
import { accessSync, constants, copyFileSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { crates, here, portkey, root } from "./paths.mjs";
import { run } from "./processes.mjs";

const say = (text) => process.stderr.write(`${text}\n`);

function onPath(program) {
  return (process.env.PATH ?? "").split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

async function wrk() {
  if (onPath("wrk")) return;
  if (process.getuid?.() === 0 && existsSync("/etc/debian_version")) {
    say("installing wrk");
    await run("apt-get", ["install", "-y", "-q", "wrk"]).catch(async () => {
      await run("apt-get", ["update", "-q"]);
      await run("apt-get", ["install", "-y", "-q", "wrk"]);
    });
    return;
  }
  throw new Error("wrk is missing: apt-get install wrk (Debian, Ubuntu), brew install wrk (macOS)");
}

async function crate(folder, ...more) {
  const manifest = join(here, folder, "Cargo.toml");
  const args = ["build", "--release", "--locked", "--quiet", "--manifest-path", manifest, ...more];
  // The folder decides which rust-toolchain.toml is read.
  await run("cargo", args, { cwd: root, env: { ...process.env, CARGO_TARGET_DIR: crates } });
}

async function gateway() {
  try {
    await run("./scripts/build", [], { cwd: root, show: true });
  } catch (error) {
    throw new Error(`the gateway could not be built (${error.message.trim()}); --only leaves it out`);
  }
}

const same = (a, b) => existsSync(a) && existsSync(b) && readFileSync(a).equals(readFileSync(b));

/** Installs the published package and bundles its Node build into one module that workerd can load. */
async function peer() {
  const lock = "package-lock.json";
  const installed = join(portkey, "node_modules/.package-lock.json");
  if (!existsSync(installed) || !same(join(here, "portkey", lock), join(portkey, lock))) {
    say("installing Portkey");
    mkdirSync(portkey, { recursive: true });
    for (const file of ["package.json", lock]) copyFileSync(join(here, "portkey", file), join(portkey, file));
    await run("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"], { cwd: portkey });
  }
  const shim = (name) => join(here, "portkey", `shim-${name}.mjs`);
  const args = [
    "node_modules/@portkey-ai/gateway/build/start-server.js",
    "--bundle", "--format=esm", "--platform=node", "--conditions=workerd,worker", "--log-level=error",
    `--alias:@hono/node-server=${shim("node-server")}`,
    `--alias:@hono/node-ws=${shim("node-server")}`,
    `--inject:${shim("timers")}`,
    "--define:process.stdout=__stdout",
    '--define:process.env.NODE_ENV="production"',
    '--banner:js=import {createRequire as __cr} from "node:module"; const require=__cr("/"); console.clear=()=>{};',
    "--outfile=portkey.js",
  ];
  await run(join(root, "node_modules/.bin/esbuild"), args, { cwd: portkey });
}

const steps = {
  thin: () => crate("floors/thin", "--target", "wasm32-unknown-unknown"),
  gateway,
  peer,
};

/** Makes ready what `needs` names, and what every run needs. */
export async function prepare(needs) {
  await wrk();
  say("building what the run needs");
  await crate("mockllm");
  for (const need of new Set(needs)) await steps[need]();
}
