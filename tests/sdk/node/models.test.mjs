import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { clientFor, collect, FAST, gateway, refusal } from "./environment.mjs";
import { withTenant } from "./tenants.mjs";

const client = clientFor();

test("list", async () => {
  const models = await collect(client.models.list());
  assert.ok(models.some(({ id }) => id === FAST));
  for (const model of models) {
    assert.equal(model.object, "model");
    assert.ok(Number.isInteger(model.created) && model.owned_by);
  }
});

test("retrieve", async () => {
  assert.equal((await client.models.retrieve(FAST)).id, FAST);
});

test("retrieve by provider and name", async () => {
  // The SDK writes the slash as %2F.
  assert.equal((await client.models.retrieve("simulated/sim-small")).id, "simulated/sim-small");
});

test("retrieve what is not there", async () => {
  const error = await refusal(client.models.retrieve("no-such-model"));
  assert.ok(error instanceof OpenAI.NotFoundError);
  assert.equal(error.code, "model_not_found");
});

test("a key sees the models it may use", gateway, () => {
  const models = { fast: { target: "simulated/sim-small" }, large: { target: "simulated/sim-large" } };
  return withTenant({ models }, async (own) => {
    const { key } = await own.key({ models: ["fast"] });
    const seen = (await collect(clientFor(key).models.list())).map(({ id }) => id);
    assert.ok(seen.includes("fast") && !seen.includes("large"), String(seen));
  });
});
