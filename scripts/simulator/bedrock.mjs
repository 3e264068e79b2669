// Amazon Bedrock: Converse and ConverseStream, and CountTokens.

import { blockEvents, inputOf, message, question, readPrompt } from "./answer.mjs";
import { errorFor, isObject, Refusal } from "./errors.mjs";
import { eventFrame, exceptionFrame } from "./event-stream.mjs";

const STOP = { stop: "end_turn", length: "max_tokens", tools: "tool_use" };
const KINDS = {
  400: "ValidationException",
  401: "UnrecognizedClientException",
  403: "AccessDeniedException",
  404: "ResourceNotFoundException",
  408: "ModelTimeoutException",
  424: "ModelErrorException",
  429: "ThrottlingException",
  500: "InternalServerException",
  503: "ServiceUnavailableException",
};
const SIGNATURE = Buffer.from("a simulated signature").toString("base64");
const DEFAULT_MOST = 4_096;
const LATENCY_MS = 10;

export const kindOf = ({ status, kind }) => kind ?? KINDS[status] ?? KINDS[status < 500 ? 400 : 500];

const refused = ({ message: text }) => ({ message: text });

function told(status) {
  return status === 401
    ? new Refusal(403, "The security token included in the request is invalid.", {
        kind: "UnrecognizedClientException",
      })
    : errorFor(status);
}

const wrong = (text) => new Refusal(400, text);

const isTool = (block) => block.toolUse !== undefined || block.toolResult !== undefined;

function check({ messages, system, toolConfig, inferenceConfig }) {
  if (!Array.isArray(messages) || messages.length === 0) {
    throw wrong("The value at messages is empty. Provide a non-empty list of messages.");
  }
  if (system !== undefined && !Array.isArray(system)) throw wrong("Expected list at system");
  let before = null;
  for (const [at, { role, content } = {}] of messages.entries()) {
    if (role !== "user" && role !== "assistant") {
      throw wrong(
        `1 validation error detected: Value '${role}' at 'messages.${at + 1}.member.role' failed to satisfy constraint: Member must satisfy enum value set: [user, assistant]`,
      );
    }
    if (before === null && role !== "user")
      throw wrong(
        "A conversation must start with a user message. Try again with a conversation that starts with a user message.",
      );
    if (before === role)
      throw wrong(
        "A conversation must alternate between user and assistant roles. Make sure the conversation alternates between user and assistant roles and try again.",
      );
    before = role;
    if (!Array.isArray(content) || content.length === 0)
      throw wrong(
        `The content field in the Message object at messages.${at} is empty. Add a ContentBlock object to the content field and try again.`,
      );
    for (const [index, block] of content.entries()) checkBlock(block, `messages.${at}.content.${index}`);
  }
  checkTools(messages);
  if (toolConfig === undefined && messages.some(({ content }) => content.some(isTool))) {
    throw wrong("The toolConfig field must be defined when using toolUse and toolResult content blocks.");
  }
  if (toolConfig !== undefined && !(toolConfig.tools?.length > 0)) {
    throw wrong(
      "1 validation error detected: Value '[]' at 'toolConfig.tools' failed to satisfy constraint: Member must have length greater than or equal to 1",
    );
  }
  for (const tool of toolConfig?.tools ?? []) {
    if (tool.toolSpec !== undefined && tool.toolSpec.inputSchema?.json?.type !== "object") {
      throw wrong(
        "The value at toolConfig.tools.0.toolSpec.inputSchema.json.type must be one of the following: object.",
      );
    }
  }
  const { maxTokens, temperature } = inferenceConfig ?? {};
  if (maxTokens !== undefined && !(maxTokens >= 1))
    throw wrong(
      "Value at 'inferenceConfig.maxTokens' failed to satisfy constraint: Member must have value greater than or equal to 1",
    );
  if (temperature !== undefined && !(temperature >= 0 && temperature <= 1))
    throw wrong(
      "Value at 'inferenceConfig.temperature' failed to satisfy constraint: Member must have value less than or equal to 1",
    );
}

function checkBlock(block, place) {
  const kinds = Object.keys(block ?? {});
  if (kinds.length !== 1)
    throw wrong(
      `Invalid number of parameters set for tagged union structure ${place}. Can only set one of the following keys: text, image, document, toolUse, toolResult, reasoningContent, cachePoint.`,
    );
  if (block.text !== undefined && String(block.text).trim() === "")
    throw wrong(
      `The text field in the ContentBlock object at ${place} is blank. Add text to the text field, and try again.`,
    );
  if (block.toolUse !== undefined && !isObject(block.toolUse.input))
    throw wrong(
      `The format of the value at ${place}.toolUse.input is invalid. Provide a json object for the field and try again.`,
    );
}

function checkTools(messages) {
  const of = (at, kind) =>
    (messages[at]?.content ?? [])
      .filter((block) => block[kind] !== undefined)
      .map((block) => block[kind].toolUseId);
  for (const at of messages.keys()) {
    const calls = of(at, "toolUse");
    const results = of(at + 1, "toolResult");
    if (at + 1 === messages.length) continue;
    const open = calls.filter((id) => !results.includes(id));
    if (open.length > 0)
      throw wrong(
        `Expected toolResult blocks at messages.${at + 1}.content for the following Ids: ${open.join(", ")}`,
      );
    if (results.some((id) => !calls.includes(id))) {
      throw wrong(
        `The number of toolResult blocks at messages.${at + 1}.content exceeds the number of toolUse blocks of previous turn.`,
      );
    }
  }
}

function read(body, { model }) {
  check(body);
  const messages = body.messages.map(readMessage);
  if (body.system?.length > 0) messages.unshift(readMessage({ role: "system", content: body.system }));
  const choice = body.toolConfig?.toolChoice;
  const format = body.outputConfig?.textFormat;
  return question({
    model,
    messages,
    tools: (body.toolConfig?.tools ?? [])
      .filter((tool) => tool.toolSpec !== undefined)
      .map(({ toolSpec: { name, inputSchema } }) => ({ name, parameters: inputSchema.json })),
    toolsText: body.toolConfig === undefined ? "" : JSON.stringify(body.toolConfig.tools),
    only: choice?.tool === undefined ? null : [choice.tool.name],
    asked: !body.messages.at(-1).content.some((block) => block.toolResult !== undefined),
    most: body.inferenceConfig?.maxTokens ?? DEFAULT_MOST,
    stops: body.inferenceConfig?.stopSequences ?? [],
    schema: format?.type === "json_schema" ? JSON.parse(format.structure.jsonSchema.schema) : null,
  });
}

function readMessage({ role, content }) {
  const out = message(role);
  for (const block of content) {
    if (typeof block.text === "string") out.texts.push(block.text);
    else if (block.image !== undefined || block.document !== undefined) out.pictures += 1;
    else if (block.toolUse !== undefined) out.calls = (out.calls ?? "") + JSON.stringify(block.toolUse);
    else if (block.toolResult !== undefined) out.texts.push(JSON.stringify(block.toolResult.content));
  }
  return out;
}

function blockOf({ kind, id, name, text }) {
  if (kind === "thinking") return { reasoningContent: { reasoningText: { text, signature: SIGNATURE } } };
  if (kind === "call") return { toolUse: { toolUseId: `tooluse_${id}`, name, input: inputOf(text) } };
  return { text };
}

const stopOf = ({ finish, stopped }) => (stopped === null ? STOP[finish] : "stop_sequence");

function usageOf({ usage }) {
  return {
    inputTokens: usage.prompt - usage.cached - usage.written,
    outputTokens: usage.completion,
    totalTokens: usage.prompt + usage.completion,
    ...(usage.cached > 0 && { cacheReadInputTokens: usage.cached }),
    ...(usage.written > 0 && { cacheWriteInputTokens: usage.written }),
  };
}

function whole(answer, _, plan) {
  const [choice] = answer.choices;
  return {
    output: { message: { role: "assistant", content: choice.blocks.map(blockOf) } },
    stopReason: stopOf(choice),
    ...(plan.usage && { usage: usageOf(answer) }),
    metrics: { latencyMs: LATENCY_MS },
  };
}

/** AWS fills every event up with some letters, so that its length says nothing about its text. */
const event = (kind, fields) => eventFrame(kind, { ...fields, p: "abcdefghijklm" });

function deltaOf({ kind }, text) {
  if (kind === "thinking") return { reasoningContent: { text } };
  return kind === "call" ? { toolUse: { input: text } } : { text };
}

function script(answer, _, plan) {
  const [choice] = answer.choices;
  const delta = (contentBlockIndex, fields) => event("contentBlockDelta", { contentBlockIndex, delta: fields });
  const events = blockEvents(choice, {
    // Only calls are begun: the other kinds are known by their deltas.
    open: ({ kind, id, name }, contentBlockIndex) =>
      kind !== "call"
        ? ""
        : event("contentBlockStart", {
            contentBlockIndex,
            start: { toolUse: { toolUseId: `tooluse_${id}`, name } },
          }),
    delta: (block, at, text) => delta(at, deltaOf(block, text)),
    close: ({ kind }, at) =>
      (kind === "thinking" ? delta(at, { reasoningContent: { signature: SIGNATURE } }) : "") +
      event("contentBlockStop", { contentBlockIndex: at }),
  });
  return {
    count: choice.steps.length,
    opening: event("messageStart", { role: "assistant" }),
    token: events.step,
    closing: () =>
      events.end() +
      event("messageStop", { stopReason: stopOf(choice) }) +
      event("metadata", { ...(plan.usage && { usage: usageOf(answer) }), metrics: { latencyMs: LATENCY_MS } }),
    failure: () =>
      exceptionFrame("modelStreamErrorException", {
        message: "The model stopped in the middle.",
        originalStatusCode: 500,
      }),
    // A frame whose last checksum is wrong.
    broken: `${event("contentBlockDelta", { contentBlockIndex: 0, delta: { text: "?" } }).slice(0, -1)}\u0000`,
  };
}

export const bedrock = {
  name: "bedrock",
  refused,
  told,
  read,
  whole,
  script,
  headers: (entry) => ["x-amzn-requestid", entry.id, "x-amzn-bedrock-invocation-latency", String(LATENCY_MS)],
  errorHeaders: (refusal) => [
    "x-amzn-errortype",
    `${kindOf(refusal)}:http://internal.amazon.com/coral/com.amazon.bedrock/`,
  ],
  broken: '{"output":{"message":{',
  streamType: "application/vnd.amazon.eventstream",
  streamEncoding: "latin1",
};

export function countTokens({ input }, where) {
  if (!isObject(input?.converse)) throw wrong("The simulator counts the tokens of input.converse only.");
  return { inputTokens: readPrompt(read(input.converse, where)).tokens };
}
