// The benchmark of what routing and the cache save still runs, and its figures still add up: it compares the
// savings ledger with a computation of its own, and fails where they differ by a nano-dollar.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { root } from "../../benches/gateway/paths.mjs";

test("scripts/bench cost", () => {
  const out = execFileSync(process.execPath, [join(root, "benches/cost/run.mjs"), "--quick", "--json"], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  const { results, reduction_percent: reduction, least_percent: least } = JSON.parse(out);
  assert.equal(results.length, 4);
  assert.ok(reduction >= least && least >= 20, `${reduction} %`);
  for (const { name, actual, counterfactual, by } of results) {
    const saved = Object.values(by).reduce((sum, amount) => sum + BigInt(amount), 0n);
    assert.equal(BigInt(actual) + saved, BigInt(counterfactual), name);
  }
});
