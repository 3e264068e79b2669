// Where an isolate runs, as Cloudflare tells it with each request: what providers did is also counted by region.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ask, openSite } from "./site.mjs";

const CF = "x-test-cf";

let site;
before(async () => {
  site = await openSite({ gateway: { cfHeader: CF } });
});
after(async () => {
  if (site) await site.close();
});

test("attempts are counted by region, and an isolate stays where it is", async () => {
  const tenant = await site.tenant("placed");
  const body = ask("sim-small");
  const rows = async () => {
    await tenant.settled();
    const { data } = await site.manage("GET", "/tenants/placed/providers");
    const { seen, regions } = data.find((row) => row.target === body.model);
    return { all: seen.classes.ok, regions: regions.map(({ region, seen: there }) => [region, there.classes.ok]) };
  };
  const from = async (cf) => assert.equal((await tenant.chat(body, { headers: cf ? { [CF]: JSON.stringify(cf) } : {} })).status, 200);

  // Nobody says where: it is asked again.
  await from();
  await from({ country: "DE" });
  assert.deepEqual(await rows(), { all: 2, regions: [] });
  await from({ colo: "FRA" });
  assert.deepEqual(await rows(), { all: 3, regions: [["FRA", 1]] });
  await from({ colo: "FRA" });
  await from();
  assert.deepEqual(await rows(), { all: 5, regions: [["FRA", 3]] });
});
