// The simulated provider in each of its formats, and what a request to it looks like there.

import assert from "node:assert/strict";
import { PICTURE } from "./environment.mjs";

/** Whether a body holds the picture, whole: as one of its values, or at the end of a data URL. */
const hasPicture = (body) => JSON.stringify(body).includes(`${PICTURE}"`);

/**
 * A format's provider, the path of a request there, how a model's name is found, and the names of the tools in a
 * body.
 */
export const FORMATS = {
  chat: {
    provider: "simulated",
    path: () => "/v1/chat/completions",
    tools: (body) => body.tools.map((tool) => tool.function.name),
  },
  responses: {
    provider: "simulated-responses",
    path: () => "/v1/responses",
    tools: (body) => body.tools.map(({ name }) => name),
  },
  azure: {
    provider: "simulated-azure",
    path: () => "/azure/v1/chat/completions",
    tools: (body) => body.tools.map((tool) => tool.function.name),
  },
  anthropic: {
    provider: "simulated-anthropic",
    path: () => "/anthropic/v1/messages",
    tools: (body) => body.tools.map(({ name }) => name),
  },
  gemini: {
    provider: "simulated-gemini",
    path: (model, stream) =>
      `/gemini/v1beta/models/${model}:${stream ? "streamGenerateContent" : "generateContent"}`,
    tools: (body) => body.tools.flatMap((tool) => tool.functionDeclarations.map(({ name }) => name)),
  },
  bedrock: {
    provider: "simulated-bedrock",
    path: (model, stream) => `/bedrock/model/${model}/${stream ? "converse-stream" : "converse"}`,
    tools: (body) => body.toolConfig.tools.map((tool) => tool.toolSpec.name),
  },
  signed: {
    provider: "simulated-bedrock-signed",
    path: (model, stream) => `/bedrock/model/${model}/${stream ? "converse-stream" : "converse"}`,
    tools: (body) => body.toolConfig.tools.map((tool) => tool.toolSpec.name),
  },
};

/** Checks that a journal entry is a request of this format, and was answered. */
export function assertAsked(name, entry, { stream = false, tools, picture = false } = {}) {
  const format = FORMATS[name];
  assert.equal(entry.path, format.path(entry.model, stream));
  assert.deepEqual([entry.status, entry.ended, entry.stream], [200, "done", stream]);
  if (tools !== undefined) assert.deepEqual(format.tools(entry.body), tools);
  if (picture) assert.ok(hasPicture(entry.body), "the picture did not arrive whole");
}
