// OpenAI's SDK and embeddings of every provider that has them.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { clientFor, DIRECT, marker, refusal } from "./environment.mjs";
import { ended } from "./journal.mjs";
import { keyWithoutLimits } from "./tenants.mjs";

const key = await keyWithoutLimits();
const client = clientFor(key);
const gateway = { skip: DIRECT && "needs the gateway" };
/** `one`: takes one text; `fixed`: has no choice of dimensions; `untold`: its answer does not tell the tokens. */
const ALL = {
  "simulated/sim-embed": { path: "/v1/embeddings", dimensions: 16 },
  "simulated-azure/sim-embed": { path: "/azure/v1/embeddings", dimensions: 16 },
  "simulated-gemini/sim-embed": { path: "/gemini/v1beta/models/sim-embed:batchEmbedContents", dimensions: 16 },
  "simulated-bedrock/cohere.embed-v4:0": {
    path: "/bedrock/model/cohere.embed-v4%3A0/invoke",
    dimensions: 256,
    untold: true,
  },
  "simulated-bedrock-signed/cohere.embed-v4:0": {
    path: "/bedrock/model/cohere.embed-v4%3A0/invoke",
    dimensions: 256,
    untold: true,
  },
  "simulated-bedrock/amazon.titan-embed-text-v2:0": {
    path: "/bedrock/model/amazon.titan-embed-text-v2%3A0/invoke",
    dimensions: 256,
    one: true,
  },
  "simulated-workers-ai/@cf/baai/bge-m3": { path: "/workers-ai/run/@cf/baai/bge-m3", fixed: 64, untold: true },
};

for (const [model, { path, dimensions, one, fixed, untold }] of Object.entries(ALL)) {
  test(model, DIRECT && model !== "simulated/sim-embed" ? gateway : {}, async () => {
    const mark = marker();
    const input = one ? mark : [mark, "größer 東京 😀"];
    const create = (more) =>
      client.embeddings.create({ model, input, ...(fixed === undefined && { dimensions }), ...more });
    // The SDK asks for base64 unless it is told otherwise, and unpacks it.
    const packed = await create({});
    assert.deepEqual(
      packed.data.map(({ index }) => index),
      one ? [0] : [0, 1],
    );
    assert.ok(packed.data.every(({ embedding }) => embedding.length === (fixed ?? dimensions)));
    assert.equal((await ended(mark)).path, path);
    const plain = await create({ encoding_format: "float" });
    for (const [at, { embedding }] of plain.data.entries()) {
      assert.ok(embedding.every((value, index) => Math.abs(value - packed.data[at].embedding[index]) < 1e-6));
    }
    assert.ok(untold || plain.usage.prompt_tokens > 0);
    assert.equal(plain.usage.total_tokens, plain.usage.prompt_tokens);
  });
}

test("a provider without embeddings", gateway, async () => {
  const error = await refusal(client.embeddings.create({ model: "simulated-anthropic/sim", input: "x" }));
  assert.ok(error instanceof OpenAI.BadRequestError);
  assert.deepEqual([error.type, error.code, error.param], ["invalid_request_error", "invalid_request", "model"]);
});

test("several texts where a model takes one", gateway, async () => {
  const model = "simulated-bedrock/amazon.titan-embed-text-v2:0";
  const error = await refusal(client.embeddings.create({ model, input: ["one", "two"] }));
  assert.ok(error instanceof OpenAI.BadRequestError);
  assert.equal(error.param, "input");
});
