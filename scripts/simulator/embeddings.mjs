// Embeddings: unit vectors that depend on the input alone.

import { Refusal } from "./errors.mjs";
import { hash } from "./answer.mjs";

/** Fewer than a real model's, to keep answers short; `dimensions` in the request changes it. */
const DEFAULT_DIMENSIONS = 64;
const MOST_DIMENSIONS = 4_096;
/** OpenAI's own bound. */
const MOST_INPUTS = 2_048;

export function embeddingsFor(body) {
  const inputs = inputsOf(body.input);
  const dimensions = body.dimensions ?? DEFAULT_DIMENSIONS;
  if (!Number.isInteger(dimensions) || dimensions < 1 || dimensions > MOST_DIMENSIONS) {
    throw new Refusal(400, `dimensions must be an integer from 1 to ${MOST_DIMENSIONS}`, { param: "dimensions" });
  }
  const tokensOf = (input) => (typeof input === "string" ? Math.ceil(input.length / 4) : input.length);
  const tokens = inputs.reduce((sum, input) => sum + tokensOf(input), 0);
  return {
    object: "list",
    data: inputs.map((input, index) => ({
      object: "embedding", index, embedding: encode(vectorOf(input, dimensions), body.encoding_format),
    })),
    model: body.model,
    usage: { prompt_tokens: tokens, total_tokens: tokens },
  };
}

function inputsOf(input) {
  const isOne = typeof input === "string" || (Array.isArray(input) && typeof input[0] === "number");
  const listed = isOne ? [input] : input;
  const isInput = (one) => one?.length > 0
    && (typeof one === "string" || (Array.isArray(one) && one.every(Number.isInteger)));
  const fine = Array.isArray(listed) && listed.length > 0 && listed.length <= MOST_INPUTS && listed.every(isInput);
  if (!fine) throw new Refusal(400, "'$.input' is invalid.", { param: "input" });
  return listed;
}

export function vectorOf(input, dimensions) {
  let state = hash(typeof input === "string" ? input : input.join(",")) | 1;
  const vector = new Float32Array(dimensions);
  let squares = 0;
  for (let at = 0; at < dimensions; at += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    vector[at] = state / 2 ** 31 - 1;
    squares += vector[at] ** 2;
  }
  const length = Math.sqrt(squares) || 1;
  return vector.map((value) => value / length);
}

function encode(vector, format) {
  return format === "base64" ? Buffer.from(vector.buffer).toString("base64") : Array.from(vector);
}
