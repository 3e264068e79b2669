// Reads the objects' databases, once the process that wrote them is gone.
import { spawnSync } from "node:child_process";
import { cp, mkdtemp, readdir, rm } from "node:fs/promises";
import { existsSync, readdirSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { ROOT } from "../../scripts/lib/stack.mjs";

/** Prints the rows of every table of the databases that are its arguments, as JSON. */
const READER = `
  const { DatabaseSync } = require("node:sqlite");
  const rows = process.argv.slice(1).map((file) => {
    const db = new DatabaseSync(file);
    const names = db.prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\\\_cf%' ESCAPE '\\\\'").all();
    return Object.fromEntries(names.map(({ name }) => [name, db.prepare('SELECT * FROM "' + name + '"').all()]));
  });
  console.log(JSON.stringify(rows));
`;

/** A Node that reads SQLite: this one, or the one that the project keeps for machines whose own is older. */
function reader() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > 22 || (major === 22 && minor >= 5)) return process.execPath;
  const kept = path.join(ROOT, ".tools/node/node_modules");
  const found = existsSync(kept) ? readdirSync(kept).map((name) => path.join(kept, name, "bin/node")).find(existsSync) : undefined;
  if (!found) throw new Error("no Node 22 was found: run scripts/setup --test");
  return found;
}

/** The tables of each tenant's object, by tenant. */
export async function tenantsOnDisk(stateDir) {
  // A copy: reading a database with a write-ahead log changes its files.
  const copy = await mkdtemp(path.join(os.tmpdir(), "tollgate-rows-"));
  try {
    const dir = path.join(stateDir, "do/tollgate-TenantObject");
    await cp(dir, copy, { recursive: true });
    const files = (await readdir(copy)).filter((name) => /^[0-9a-f]+\.sqlite$/.test(name)).map((name) => path.join(copy, name));
    const argv = ["--experimental-sqlite", "--no-warnings", "-e", READER, ...files];
    const done = spawnSync(reader(), argv, { encoding: "utf8", maxBuffer: 2 ** 28 });
    if (done.status !== 0) throw new Error(`the databases cannot be read: ${done.stderr}`);
    const named = JSON.parse(done.stdout).filter((tables) => tables.keys?.length);
    return new Map(named.map((tables) => [tenantOf(tables), tables]));
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

/** A key's visible beginning tells whose it is. */
const tenantOf = (tables) => /^tg_([a-z0-9-]+)_/.exec(JSON.parse(tables.keys[0].body).prefix)[1];
