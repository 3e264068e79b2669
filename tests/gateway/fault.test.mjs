// Should Rust or the shell ever throw, the instance is started anew, and only the requests under way are lost.
import assert from "node:assert/strict";
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import test from "node:test";
import { ROOT } from "../../scripts/lib/stack.mjs";
import { ask, openSite } from "./site.mjs";

/** The built bundle, in which the shell throws into Rust where an answer has this in its headers. */
const MARK = "throw-here";

async function faultyBundle(dir) {
  const from = path.join(ROOT, "build");
  const source = await readFile(path.join(from, "index.js"), "utf8");
  const method = /\brespond\(status,\s*headers,\s*body,\s*own\)\s*\{/;
  assert.match(source, method, "the shell has a new form: this test must follow");
  const fault = `if (headers.includes(${JSON.stringify(MARK)})) throw new RangeError("a fault");`;
  await mkdir(dir, { recursive: true });
  await writeFile(path.join(dir, "index.js"), source.replace(method, (found) => found + fault));
  await copyFile(path.join(from, "index.wasm"), path.join(dir, "index.wasm"));
}

test("a fault ends its request, and the next ones are served as before", async (t) => {
  const dir = await mkdtemp(path.join(os.tmpdir(), "tollgate-fault-"));
  await faultyBundle(dir);
  const site = await openSite({ gateway: { bundleDir: dir } });
  t.after(async () => {
    await site.close();
    await rm(dir, { recursive: true });
  });
  const tenant = await site.tenant("fault", { budgets: [{ id: "all", limit_usd: "10", period: "total" }] });
  const chat = async (headers) => (await tenant.chat(ask("sim-fault-l0"), { headers })).status;
  assert.equal(await chat(), 200);
  for (let round = 0; round < 3; round += 1) {
    assert.equal(await chat({ "x-request-id": MARK }), 500);
    // It has its variables, its keys and its ledger again.
    assert.deepEqual([await chat(), await chat()], [200, 200]);
  }
});
