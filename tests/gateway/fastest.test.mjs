// The strategy `fastest` with real traffic: what is observed travels from settlements to the tenant's object and
// back with permits, and traffic follows it.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openSite } from "./site.mjs";

const NAMES = ["sim-near-l200", "sim-far-l200"];
const CONNECTIONS = 4;

let site;
before(async () => {
  site = await openSite({ env: { TOLLGATE_LOG: "errors" } });
});
after(async () => {
  if (site) await site.close();
});

/** Who answered each of so many requests, in the order in which they were sent. */
async function answered(tenant, count) {
  const who = [];
  let next = 0;
  const client = async () => {
    while (next < count) {
      const at = next++;
      const answer = await tenant.chat({ model: "quick", messages: [{ role: "user", content: "Hello" }], max_tokens: 20 });
      assert.equal(answer.status, 200, answer.text);
      who[at] = answer.headers["x-tollgate-model"];
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, client));
  return who;
}

const times = (who, name) => who.filter((one) => one === name).length;

test("a target that becomes five times slower loses nine tenths of its traffic within 50 requests", async (t) => {
  const tenant = await site.tenant("quick", { models: { quick: { strategy: "fastest", targets: NAMES.map((name) => `simulated/${name}`) } } });
  const before = await answered(tenant, 60);
  const slow = NAMES.toSorted((a, b) => times(before, b) - times(before, a))[0];
  await site.fault({ model: slow, fault: "l1000" });
  const moving = await answered(tenant, 50);
  const after = await answered(tenant, 100);
  t.diagnostic(`${slow}: ${times(before, slow)} of 60 before, ${times(moving, slow)} of the 50 after, ${times(after, slow)} of the next 100`);
  assert.ok(times(before, slow) >= 30, "it had traffic to lose");
  assert.ok(times(after, slow) <= 10, `${times(after, slow)} of 100`);
});
