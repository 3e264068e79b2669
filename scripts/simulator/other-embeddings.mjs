// Embeddings in the words of Amazon Titan and Cohere (Bedrock's invoke) and of Cloudflare Workers AI.

import { vectorOf } from "./embeddings.mjs";
import { Refusal } from "./errors.mjs";

const TITAN_DIMENSIONS = [256, 512, 1_024];
const COHERE_DIMENSIONS = [256, 512, 1_024, 1_536];
const COHERE_TEXTS = 96;
const COHERE_KINDS = ["search_document", "search_query", "classification", "clustering"];
const WORKERS_AI_DIMENSIONS = 64;
const WORKERS_AI_TEXTS = 100;

const wrong = (text) => new Refusal(400, text);
const isText = (text) => typeof text === "string" && text !== "";
const tokensOf = (text) => Math.ceil(text.length / 4);

/** Bedrock hands the body to the model, so each maker has its own. */
export function invoke(body, { model }) {
  if (model.includes("amazon.titan-embed")) return titan(body);
  if (model.includes("cohere.embed")) return cohere(body);
  throw wrong("The simulator invokes Amazon Titan's and Cohere's models for embeddings only.");
}

function titan({ inputText, dimensions = 1_024, ...more }) {
  if (!isText(inputText))
    throw wrong(
      "Malformed input request: expected minLength: 1, actual: 0, please reformat your input and try again.",
    );
  if (!TITAN_DIMENSIONS.includes(dimensions))
    throw wrong(
      `Malformed input request: #/dimensions: ${dimensions} is not a valid enum value, please reformat your input and try again.`,
    );
  const extra = Object.keys(more).find((name) => !["normalize", "embeddingTypes"].includes(name));
  if (extra !== undefined)
    throw wrong(
      `Malformed input request: #: extraneous key [${extra}] is not permitted, please reformat your input and try again.`,
    );
  const embedding = Array.from(vectorOf(inputText, dimensions));
  return { embedding, embeddingsByType: { float: embedding }, inputTextTokenCount: tokensOf(inputText) };
}

function cohere({ texts, input_type: kind, embedding_types: types, output_dimension: dimensions = 1_024 }) {
  if (!Array.isArray(texts) || texts.length === 0 || !texts.every(isText))
    throw wrong(
      "Malformed input request: #: required key [texts] not found, please reformat your input and try again.",
    );
  if (texts.length > COHERE_TEXTS)
    throw wrong(
      `Malformed input request: #/texts: expected maximum item count: ${COHERE_TEXTS}, please reformat your input and try again.`,
    );
  if (!COHERE_KINDS.includes(kind))
    throw wrong(
      "Malformed input request: #/input_type: is not a valid enum value, please reformat your input and try again.",
    );
  if (!COHERE_DIMENSIONS.includes(dimensions))
    throw wrong(
      `Malformed input request: #/output_dimension: ${dimensions} is not a valid enum value, please reformat your input and try again.`,
    );
  const vectors = texts.map((text) => Array.from(vectorOf(text, dimensions)));
  const response = { id: "simulated", texts };
  return types === undefined
    ? { ...response, embeddings: vectors, response_type: "embeddings_floats" }
    : { ...response, embeddings: { float: vectors }, response_type: "embeddings_by_type" };
}

/** Cohere's tokens are told in a header only. */
export const invokeHeaders = ({ texts, inputText }) => [
  "x-amzn-bedrock-input-token-count",
  String([texts ?? inputText].flat().reduce((sum, text) => sum + tokensOf(text), 0)),
];

export function workersAi({ text }) {
  const texts = [text].flat();
  if (texts.length === 0 || texts.length > WORKERS_AI_TEXTS || !texts.every(isText)) {
    throw wrong("AiError: Bad input: Error: required properties at '/' are 'text'");
  }
  const data = texts.map((one) => Array.from(vectorOf(one, WORKERS_AI_DIMENSIONS)));
  return {
    result: { shape: [data.length, WORKERS_AI_DIMENSIONS], data, pooling: "cls" },
    success: true,
    errors: [],
    messages: [],
  };
}
