// Which path belongs to which provider and format.

import * as auth from "./auth.mjs";
import { anthropic, countTokens as countForAnthropic } from "./anthropic.mjs";
import { bedrock, countTokens as countForBedrock } from "./bedrock.mjs";
import { readPrompt } from "./answer.mjs";
import { chat } from "./chat.mjs";
import { embeddingsFor } from "./embeddings.mjs";
import { Refusal } from "./errors.mjs";
import { batchEmbed, countTokens as countForGemini, embed, gemini } from "./gemini.mjs";
import { listOfModels, modelNamed, MODELS } from "./openai.mjs";
import { invoke, invokeHeaders, workersAi } from "./other-embeddings.mjs";
import { responses } from "./responses.mjs";
import { run, workersAiRun } from "./workers-ai.mjs";

/** Cloudflare's API has a frame of its own for errors, whatever model is asked. */
const cloudflare = {
  ...chat,
  name: "workers-ai",
  refused: ({ message, code }) => ({
    result: null,
    success: false,
    errors: [{ code: code ?? 5_007, message }],
    messages: [],
  }),
};

/** Gemini and Bedrock name the model in the path. */
const nameIn = (text) => {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Refusal(400, "The path is not valid percent-encoding.");
  }
};

const countForResponses = (body) => ({
  object: "response.input_tokens",
  input_tokens: readPrompt(responses.read(body)).tokens,
});

function openAi(route) {
  switch (route) {
    case "POST /v1/chat/completions":
      return { format: chat };
    case "POST /v1/responses":
      return { format: responses };
    case "POST /v1/responses/input_tokens":
      return { format: responses, make: countForResponses };
    case "POST /v1/embeddings":
      return { format: chat, make: embeddingsFor };
    case "GET /v1/models":
      return { format: chat, get: listOfModels };
    default: {
      const [, id] = /^GET \/v1\/models\/(.+)$/.exec(route) ?? [];
      return id === undefined ? null : { format: chat, get: () => modelNamed(id) };
    }
  }
}

function messages(route) {
  switch (route) {
    case "POST /v1/messages":
      return { format: anthropic };
    case "POST /v1/messages/count_tokens":
      return { format: anthropic, make: countForAnthropic };
    case "GET /v1/models": {
      const card = (id) => ({ type: "model", id, display_name: id, created_at: "2026-01-01T00:00:00Z" });
      return {
        format: anthropic,
        get: () => ({ data: MODELS.map(card), first_id: MODELS[0], last_id: MODELS.at(-1), has_more: false }),
      };
    }
    default:
      return null;
  }
}

function google(route, query) {
  if (/^GET \/v1(?:beta)?\/models$/.test(route)) {
    const card = (id) => ({ name: `models/${id}`, displayName: id, supportedGenerationMethods: ["generateContent"] });
    return { format: gemini, get: () => ({ models: MODELS.map(card) }) };
  }
  const [, name, act] = /^POST \/v1(?:beta)?\/models\/([^/:]+):([a-zA-Z]+)$/.exec(route) ?? [];
  if (act === undefined) return null;
  const model = nameIn(name);
  switch (act) {
    case "generateContent":
      return { format: gemini, model, stream: false };
    case "streamGenerateContent":
      if (query.get("alt") !== "sse") throw new Refusal(400, "The simulator streams with alt=sse only.");
      return { format: gemini, model, stream: true };
    case "countTokens":
      return { format: gemini, model, make: countForGemini };
    case "batchEmbedContents":
      return { format: gemini, model, make: batchEmbed };
    case "embedContent":
      return { format: gemini, model, make: embed };
    default:
      return null;
  }
}

function amazon(route) {
  const [, name, act] = /^POST \/model\/([^/]+)\/([a-z-]+)$/.exec(route) ?? [];
  if (act === undefined) return null;
  const model = nameIn(name);
  switch (act) {
    case "converse":
      return { format: bedrock, model, stream: false };
    case "converse-stream":
      return { format: bedrock, model, stream: true };
    case "invoke":
      return { format: bedrock, model, make: invoke, headers: invokeHeaders };
    case "count-tokens":
      return { format: bedrock, model, make: countForBedrock };
    default:
      return null;
  }
}

function workers(route) {
  const [, name] = /^POST \/run\/(.+)$/.exec(route) ?? [];
  if (name !== undefined) return { format: cloudflare, model: nameIn(name), make: workersAi };
  return openAi(route);
}

/** The binding of Workers AI, whose requests carry no key: who has the binding may ask. */
const binding = (route, query) => (route === "POST " && query.get("version") === "3" ? run : null);
const noKey = () => "binding";

/** The first that fits: a prefix, the provider's routes, where it wants its key, and how it refuses. */
const PROVIDERS = [
  ["/anthropic", messages, auth.anthropic, anthropic],
  ["/gemini", google, auth.google, gemini],
  ["/bedrock", amazon, auth.aws, bedrock],
  ["/workers-ai", workers, auth.cloudflare, cloudflare],
  ["/run", binding, noKey, workersAiRun],
  ["/azure", openAi, auth.azure, chat],
  ["", openAi, auth.bearer, chat],
];

/** The provider whose path this is: `find` gives the route, or null; the rest is needed to refuse. */
export function providerOf(method, path, query) {
  const [prefix, find, authenticate, format] = PROVIDERS.find(
    ([start]) => start === "" || path === start || path.startsWith(`${start}/`),
  );
  return { format, authenticate, find: () => find(`${method} ${path.slice(prefix.length)}`, query) };
}
