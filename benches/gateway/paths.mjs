// Where things are: all below the repository, and the stores of the objects.
import { accessSync, constants, mkdtempSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const here = fileURLToPath(new URL(".", import.meta.url)).replace(/\/$/, "");
export const root = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");
export const crates = join(root, ".tools/bench-target");
export const portkey = join(root, ".tools/portkey");
export const thinWasm = join(crates, "wasm32-unknown-unknown/release");

const MEMORY = "/dev/shm";
const LEAST_BYTES = 256 * 2 ** 20; // containers often give /dev/shm only 64 MB, which a run can fill

function memoryIsUsable() {
  try {
    accessSync(MEMORY, constants.W_OK);
    const fs = statfsSync(MEMORY);
    return fs.bavail * fs.bsize >= LEAST_BYTES;
  } catch {
    return false;
  }
}

/** A fresh folder for Durable Object storage: in memory where possible, since on a disk fsync decides. */
export function makeStore() {
  const memory = memoryIsUsable();
  const path = mkdtempSync(join(memory ? MEMORY : tmpdir(), "tollgate-bench-"));
  const remove = async () => rmSync(path, { recursive: true, force: true });
  return { path, memory, remove };
}
