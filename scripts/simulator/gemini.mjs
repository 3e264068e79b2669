// Google Gemini: generateContent, streamGenerateContent, countTokens, batchEmbedContents and embedContent.

import { inputOf, message, question, readPrompt } from "./answer.mjs";
import { vectorOf } from "./embeddings.mjs";
import { errorFor, isObject, Refusal, unknownField } from "./errors.mjs";

const FIELDS = new Set([
  "contents",
  "tools",
  "toolConfig",
  "safetySettings",
  "systemInstruction",
  "generationConfig",
  "cachedContent",
  "labels",
  // Both spellings are taken.
  "tool_config",
  "safety_settings",
  "system_instruction",
  "generation_config",
  "cached_content",
  "model",
  "serviceTier",
  "store",
]);
const CONFIG_FIELDS = new Set([
  "stopSequences",
  "responseMimeType",
  "responseSchema",
  "responseJsonSchema",
  "responseModalities",
  "candidateCount",
  "maxOutputTokens",
  "temperature",
  "topP",
  "topK",
  "seed",
  "presencePenalty",
  "frequencyPenalty",
  "responseLogprobs",
  "logprobs",
  "enableEnhancedCivicAnswers",
  "speechConfig",
  "thinkingConfig",
  "imageConfig",
  "mediaResolution",
]);
const FINISH = { stop: "STOP", length: "MAX_TOKENS", tools: "STOP" };
const WORDS = {
  400: "INVALID_ARGUMENT",
  401: "UNAUTHENTICATED",
  403: "PERMISSION_DENIED",
  404: "NOT_FOUND",
  429: "RESOURCE_EXHAUSTED",
  499: "CANCELLED",
  500: "INTERNAL",
  503: "UNAVAILABLE",
  504: "DEADLINE_EXCEEDED",
};
const DEFAULT_DIMENSIONS = 64;
const MOST_TEXTS = 100;
/** What Google takes in the place of a signature that somebody else's call cannot have. */
const ANY_SIGNATURE = "skip_thought_signature_validator";
const SIGNATURE = Buffer.from("a simulated thought").toString("base64");

const refused = ({ status, message: text, kind, code }) => ({
  error: {
    code: status,
    message: text,
    status: kind ?? WORDS[status] ?? (status < 500 ? "INVALID_ARGUMENT" : "INTERNAL"),
    ...(code !== null && {
      details: [{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason: code, domain: "googleapis.com" }],
    }),
  },
});

function told(status) {
  return status === 401 ? new Refusal(401, "Request had invalid authentication credentials.") : errorFor(status);
}

const wrong = (text) => new Refusal(400, text);

function refuseUnknown(body, known, place) {
  const unknown = unknownField(body, known);
  if (unknown === undefined) return;
  const where = place === "" ? "" : ` at '${place}'`;
  throw wrong(`Invalid JSON payload received. Unknown name "${unknown}"${where}: Cannot find field.`);
}

function check(body, model) {
  refuseUnknown(body, FIELDS, "");
  if (!Array.isArray(body.contents) || body.contents.length === 0) {
    throw wrong("* GenerateContentRequest.contents: contents is not specified\n");
  }
  const config = body.generationConfig ?? {};
  refuseUnknown(config, CONFIG_FIELDS, "generation_config");
  if (config.temperature !== undefined && !(config.temperature >= 0 && config.temperature <= 2)) {
    throw wrong(
      "* GenerateContentRequest.generation_config.temperature: temperature must be in the range [0.0, 2.0].\n",
    );
  }
  if (
    (config.responseSchema ?? config.responseJsonSchema) !== undefined &&
    config.responseMimeType !== "application/json"
  ) {
    throw wrong(
      "* GenerateContentRequest.generation_config.response_mime_type: response schema needs application/json\n",
    );
  }
  for (const [at, content] of body.contents.entries()) checkContent(content, at, body.contents[at - 1]);
  if (model.startsWith("gemini-3")) body.contents.forEach(checkSignature);
}

/** From version 3 on the first call of a turn must come back with its signature. */
function checkSignature({ parts }, at) {
  const call = parts.find((part) => part.functionCall !== undefined);
  if (call === undefined || [SIGNATURE, ANY_SIGNATURE].includes(call.thoughtSignature)) return;
  throw wrong(
    `Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly, and missing thought_signature may lead to degraded model performance. Additional data, function call \`${call.functionCall.name}\`, position ${at + 1}.`,
  );
}

function checkContent({ role = "user", parts }, at, before) {
  if (role !== "user" && role !== "model" && role !== "function") {
    throw wrong("Please use a valid role: user, model.");
  }
  if (!Array.isArray(parts) || parts.length === 0)
    throw wrong(`* GenerateContentRequest.contents[${at}].parts: contents.parts must not be empty.\n`);
  const kinds = [
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
  ];
  if (!parts.every((part) => kinds.some((kind) => part?.[kind] !== undefined))) {
    throw wrong(
      `* GenerateContentRequest.contents[${at}].parts[0].data: required oneof field 'data' must have one initialized field\n`,
    );
  }
  const responses = parts.filter((part) => part.functionResponse !== undefined);
  if (responses.some(({ functionResponse: { response } }) => !isObject(response))) {
    throw wrong("Function response must be an object.");
  }
  const calls = (before?.parts ?? []).filter((part) => part.functionCall !== undefined);
  if (responses.length > 0 && calls.length === 0) {
    throw wrong("Please ensure that function response turn comes immediately after a function call turn.");
  }
  if (calls.length !== responses.length && before !== undefined) {
    throw wrong(
      "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.",
    );
  }
}

function read(body, { model }) {
  check(body, model);
  const config = body.generationConfig ?? {};
  const messages = body.contents.map(readContent);
  if (body.systemInstruction !== undefined)
    messages.unshift(readContent({ ...body.systemInstruction, role: "system" }));
  const tools = (body.tools ?? []).flatMap((tool) => tool.functionDeclarations ?? []);
  const calling = body.toolConfig?.functionCallingConfig;
  return question({
    model,
    messages,
    tools: tools.map(({ name, parametersJsonSchema, parameters }) => ({
      name,
      parameters: parametersJsonSchema ?? plain(parameters),
    })),
    toolsText: body.tools === undefined ? "" : JSON.stringify(body.tools),
    mute: calling?.mode === "NONE",
    only: calling?.allowedFunctionNames ?? null,
    asked: !body.contents.at(-1).parts.some((part) => part.functionResponse !== undefined),
    most: config.maxOutputTokens ?? Infinity,
    stops: config.stopSequences ?? [],
    n: config.candidateCount ?? 1,
    schema: config.responseJsonSchema ?? plain(config.responseSchema) ?? null,
    anyJson: config.responseMimeType === "application/json",
  });
}

/** Google's own schemas write types in capitals. */
function plain(schema) {
  if (Array.isArray(schema)) return schema.map(plain);
  if (!isObject(schema)) return schema;
  return Object.fromEntries(
    Object.entries(schema).map(([name, value]) => [
      name,
      name === "type" && typeof value === "string" ? value.toLowerCase() : plain(value),
    ]),
  );
}

function readContent({ role = "user", parts }) {
  const out = message(role);
  for (const part of parts) {
    if (typeof part.text === "string") out.texts.push(part.text);
    else if (part.inlineData !== undefined || part.fileData !== undefined) out.pictures += 1;
    else if (part.functionCall !== undefined) out.calls = (out.calls ?? "") + JSON.stringify(part.functionCall);
    else if (part.functionResponse !== undefined) out.texts.push(JSON.stringify(part.functionResponse.response));
  }
  return out;
}

/** The first of several calls carries the signature. */
function partOf({ kind, id, name, text }, at, blocks) {
  if (kind === "thinking") return { text, thought: true };
  if (kind !== "call") return { text };
  const functionCall = { id, name, args: inputOf(text) };
  return blocks[at - 1]?.kind === "call" ? { functionCall } : { functionCall, thoughtSignature: SIGNATURE };
}

function usageOf({ usage }, completion, thinking) {
  return {
    promptTokenCount: usage.prompt,
    candidatesTokenCount: completion,
    totalTokenCount: usage.prompt + completion + thinking,
    ...(usage.cached > 0 && { cachedContentTokenCount: usage.cached }),
    ...(thinking > 0 && { thoughtsTokenCount: thinking }),
    promptTokensDetails: [{ modality: "TEXT", tokenCount: usage.prompt }],
  };
}

const usageAtEnd = (answer) =>
  usageOf(answer, answer.usage.completion - answer.usage.thinking, answer.usage.thinking);

const frame = (answer, { model }, candidates, usage) => ({
  candidates,
  ...(usage && { usageMetadata: usage }),
  modelVersion: model,
  responseId: answer.id,
});

/** Thoughts are told only to those who ask; they are thought and counted anyway. */
const shows = ({ kind }, { body }) =>
  kind !== "thinking" || body.generationConfig?.thinkingConfig?.includeThoughts === true;

function whole(answer, where, plan) {
  const candidates = answer.choices.map(({ blocks, finish }, index) => {
    const parts = blocks.map((block, at) => (shows(block, where) ? [partOf(block, at, blocks)] : [])).flat();
    return { content: { parts, role: "model" }, finishReason: FINISH[finish], index };
  });
  return frame(answer, where, candidates, plan.usage && usageAtEnd(answer));
}

/** Calls are not streamed in pieces: each comes whole, with its last token. */
function script(answer, where, plan) {
  const { choices } = answer;
  const event = (body) => `data: ${JSON.stringify(body)}\n\n`;
  const chunk = (index, part, finish) => {
    const candidate = { content: { parts: [part], role: "model" }, ...(finish && { finishReason: finish }), index };
    return event(
      frame(answer, where, [candidate], plan.usage && (finish ? usageAtEnd(answer) : usageOf(answer, 0, 0))),
    );
  };
  const token = ({ blocks, steps }, index, at) => {
    if (at >= steps.length) return "";
    const { block, text } = steps[at];
    if (!shows(blocks[block], where)) return "";
    if (blocks[block].kind !== "call") return chunk(index, partOf({ ...blocks[block], text }));
    return steps[at + 1]?.block === block ? "" : chunk(index, partOf(blocks[block], block, blocks));
  };
  return {
    count: Math.max(...choices.map(({ steps }) => steps.length)),
    opening: "",
    token: (at) => choices.map((choice, index) => token(choice, index, at)).join(""),
    closing: () => choices.map(({ finish }, index) => chunk(index, { text: "" }, FINISH[finish])).join(""),
    failure: () => event(refused(told(503))),
    broken: 'data: {"candidates":[{\n\n',
  };
}

export const gemini = {
  name: "gemini",
  refused,
  told,
  read,
  whole,
  script,
  headers: () => [
    "server",
    "scaffolding on HTTPServer2",
    "server-timing",
    "gfet4t7; dur=1",
    "x-frame-options",
    "SAMEORIGIN",
  ],
  broken: '{"candidates":[{',
  streamType: "text/event-stream",
  streamEncoding: "utf8",
};

/** `countTokens` takes the contents alone, or a whole request. */
export function countTokens(body, where) {
  if (body.generateContentRequest !== undefined && body.contents !== undefined) {
    throw wrong("Only one of contents and generate_content_request may be set.");
  }
  const request = body.generateContentRequest ?? { contents: body.contents };
  if (body.generateContentRequest !== undefined && typeof request.model !== "string") {
    throw wrong("* CountTokensRequest.generate_content_request.model: model is not specified\n");
  }
  const tokens = readPrompt(read(request, where)).tokens;
  return { totalTokens: tokens, promptTokensDetails: [{ modality: "TEXT", tokenCount: tokens }] };
}

export function batchEmbed({ requests }, { model }) {
  if (!Array.isArray(requests) || requests.length === 0)
    throw wrong("* BatchEmbedContentsRequest.requests: must not be empty\n");
  if (requests.length > MOST_TEXTS)
    throw wrong("* BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch\n");
  for (const one of requests) {
    if (one?.model !== `models/${model}`) {
      throw wrong("* BatchEmbedContentsRequest.requests[0].model: must match the model of the batch\n");
    }
  }
  const length = requests.reduce((sum, { content }) => sum + JSON.stringify(content).length, 0);
  return { embeddings: requests.map(embeddingOf), usageMetadata: { promptTokenCount: Math.ceil(length / 4) } };
}

export const embed = (body) => ({ embedding: embeddingOf(body) });

function embeddingOf({ content, outputDimensionality = DEFAULT_DIMENSIONS }) {
  const texts = (content?.parts ?? []).map(({ text }) => text);
  if (texts.length === 0 || texts.some((text) => typeof text !== "string" || text === "")) {
    throw wrong("* EmbedContentRequest.content: empty Part\n");
  }
  return { values: Array.from(vectorOf(texts.join("\n"), outputDimensionality)) };
}
