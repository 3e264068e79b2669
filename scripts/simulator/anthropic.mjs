// Anthropic Messages.

import { blockEvents, inputOf, message, question, readPrompt } from "./answer.mjs";
import { checkMessages, checkSchema } from "./anthropic-check.mjs";
import { errorFor, isObject, Refusal, unknownField } from "./errors.mjs";

const FIELDS = new Set([
  "model",
  "messages",
  "max_tokens",
  "cache_control",
  "container",
  "context_management",
  "diagnostics",
  "inference_geo",
  "mcp_servers",
  "metadata",
  "output_config",
  "output_format",
  "service_tier",
  "speed",
  "stop_sequences",
  "stream",
  "system",
  "temperature",
  "thinking",
  "tool_choice",
  "tools",
  "top_k",
  "top_p",
  "user_profile_id",
  "workspace_id",
]);
const COUNTED_FIELDS = new Set([
  "model",
  "messages",
  "cache_control",
  "context_management",
  "mcp_servers",
  "output_config",
  "output_format",
  "system",
  "thinking",
  "tool_choice",
  "tools",
  "speed",
]);
/** Each API version and the fields that are no longer part of it. */
const VERSIONS = { "2023-01-01": [], "2023-06-01": [], "2026-10-21": ["temperature", "top_p", "top_k"] };
const LEAST_THINKING_BUDGET = 1_024;
const STOP = { stop: "end_turn", length: "max_tokens", tools: "tool_use" };
const KINDS = {
  400: "invalid_request_error",
  401: "authentication_error",
  402: "billing_error",
  403: "permission_error",
  404: "not_found_error",
  413: "request_too_large",
  429: "rate_limit_error",
  500: "api_error",
  504: "timeout_error",
  529: "overloaded_error",
};
/** Stands for a proof that only the provider can read; it is not looked at when it comes back. */
const SIGNATURE = Buffer.from("a simulated signature").toString("base64");

const refused = ({ status, message: text, kind }, entry) => ({
  type: "error",
  error: { type: kind ?? KINDS[status] ?? (status < 500 ? "invalid_request_error" : "api_error"), message: text },
  request_id: entry?.id ?? null,
});

function told(status) {
  return status === 401 ? new Refusal(401, "invalid x-api-key") : errorFor(status);
}

const wrong = (text) => new Refusal(400, text);

function check(body, known, { headers }) {
  const version = headers["anthropic-version"];
  const removed = VERSIONS[version];
  if (removed === undefined) throw wrong(`anthropic-version: "${version}" is not a valid version`);
  const unknown = unknownField(body, known) ?? removed.find((name) => name in body);
  if (unknown !== undefined) throw wrong(`${unknown}: Extra inputs are not permitted`);
  checkMessages(body);
  const { temperature, tools, tool_choice: choice, thinking, stop_sequences: stops } = body;
  if (temperature !== undefined && !(temperature >= 0 && temperature <= 1)) throw wrong("temperature: range: 0..1");
  if (tools !== undefined && !Array.isArray(tools)) throw wrong("tools: Input should be a valid list");
  for (const [at, tool] of (tools ?? []).entries()) {
    // Tools that the provider runs itself have a type with a date.
    if (/_\d{8}$/.test(tool?.type)) continue;
    if (tool?.type !== undefined && tool.type !== "custom")
      throw wrong(
        `tools.${at}: Input tag '${tool.type}' found using 'type' does not match any of the expected tags`,
      );
    if (typeof tool?.name !== "string") throw wrong(`tools.${at}.custom.name: Field required`);
    if (!/^[a-zA-Z0-9_-]{1,128}$/.test(tool.name))
      throw wrong(`tools.${at}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'`);
    if (tool.input_schema?.type !== "object") throw wrong(`tools.${at}.custom.input_schema.type: Field required`);
  }
  if (choice !== undefined && !["auto", "any", "tool", "none"].includes(choice?.type)) {
    throw wrong(
      "tool_choice: Input tag found using 'type' does not match any of the expected tags: 'auto', 'any', 'tool', 'none'",
    );
  }
  if (choice !== undefined && !(tools?.length > 0))
    throw wrong("tool_choice: tool_choice may only be specified while providing tools.");
  if (stops !== undefined && !Array.isArray(stops)) throw wrong("stop_sequences: Input should be a valid list");
  if (stops?.some((stop) => typeof stop !== "string" || stop.trim() === "")) {
    throw wrong("stop_sequences: each stop sequence must contain non-whitespace");
  }
  if (thinking?.type === "enabled") checkThinking(body);
  if (/@/.test(body.metadata?.user_id ?? "")) throw wrong("metadata.user_id: user_id appears to contain an email address");
  checkSchema(body.output_config?.format?.schema, "output_config.format.schema");
  checkModel(body);
}

/** What Claude's models since 4.5 and since 4.7 no longer take. */
function checkModel({ model, temperature, top_p: share, top_k: count, thinking }) {
  const [, major, minor] = /claude-(?:opus|sonnet|haiku)-(\d)(?:-(\d)(?!\d))?/.exec(model) ?? [];
  if (major === undefined) return;
  const version = Number(major) + Number(minor ?? 0) / 10;
  if (version >= 4.5 && temperature !== undefined && share !== undefined) {
    throw wrong("`temperature` and `top_p` cannot both be specified for this model. Please use only one.");
  }
  if (version < 4.7) return;
  const given = Object.entries({ temperature, top_p: share, top_k: count }).find(
    ([, value]) => value !== undefined,
  );
  if (given !== undefined) throw wrong(`\`${given[0]}\` is deprecated for this model.`);
  if (thinking?.type === "enabled") {
    throw wrong(
      '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.',
    );
  }
}

function checkThinking({ thinking, max_tokens: most, temperature, tool_choice: choice }) {
  if (!(thinking.budget_tokens >= LEAST_THINKING_BUDGET)) {
    throw wrong(
      `thinking.enabled.budget_tokens: Input should be greater than or equal to ${LEAST_THINKING_BUDGET}`,
    );
  }
  if (most !== undefined && most <= thinking.budget_tokens) {
    throw wrong("`max_tokens` must be greater than `thinking.budget_tokens`.");
  }
  if (temperature !== undefined && temperature !== 1)
    throw wrong("`temperature` may only be set to 1 when thinking is enabled.");
  if (choice?.type === "any" || choice?.type === "tool") {
    throw wrong("Thinking may not be enabled when tool_choice forces tool use.");
  }
}

function read(body, where) {
  if (body.max_tokens === undefined) throw wrong("max_tokens: Field required");
  if (!Number.isInteger(body.max_tokens) || body.max_tokens < 1) {
    throw wrong("max_tokens: Input should be greater than or equal to 1");
  }
  check(body, FIELDS, where);
  return asked(body);
}

function asked(body) {
  const messages = body.messages.map(readMessage);
  if (body.system !== undefined) messages.unshift(readMessage({ role: "system", content: body.system }));
  const last = body.messages.at(-1);
  const choice = body.tool_choice;
  const format = body.output_config?.format ?? body.output_format;
  return question({
    model: body.model,
    messages,
    tools: (body.tools ?? [])
      .filter((tool) => isObject(tool.input_schema))
      .map(({ name, input_schema: parameters }) => ({ name, parameters })),
    toolsText: body.tools === undefined ? "" : JSON.stringify(body.tools),
    mute: choice?.type === "none",
    only: choice?.type === "tool" ? [choice.name] : null,
    asked:
      last.role === "user" &&
      !(Array.isArray(last.content) && last.content.some(({ type }) => type === "tool_result")),
    most: body.max_tokens ?? Infinity,
    stops: body.stop_sequences ?? [],
    schema: format?.type === "json_schema" ? format.schema : null,
  });
}

function readMessage({ role, content }) {
  const out = message(role);
  const parts = typeof content === "string" ? [{ type: "text", text: content }] : content;
  for (const part of parts) {
    if (part.type === "text") out.texts.push(part.text);
    else if (part.type === "image" || part.type === "document") out.pictures += 1;
    else if (part.type === "tool_use") out.calls = (out.calls ?? "") + JSON.stringify(part);
    else if (part.type === "tool_result")
      out.texts.push(typeof part.content === "string" ? part.content : JSON.stringify(part.content ?? ""));
  }
  return out;
}

function blockOf({ kind, id, name, text }, ended) {
  if (kind === "thinking")
    return { type: "thinking", thinking: ended ? text : "", signature: ended ? SIGNATURE : "" };
  if (kind === "call") return { type: "tool_use", id: `toolu_${id}`, name, input: ended ? inputOf(text) : {} };
  return { type: "text", text: ended ? text : "" };
}

const stopOf = ({ finish, stopped }) => ({
  stop_reason: stopped === null ? STOP[finish] : "stop_sequence",
  stop_sequence: stopped,
});

const usageOf = ({ usage }, output, plan) => ({
  input_tokens: usage.prompt - usage.cached - usage.written,
  cache_creation_input_tokens: usage.written,
  cache_read_input_tokens: usage.cached,
  cache_creation: { ephemeral_5m_input_tokens: usage.written, ephemeral_1h_input_tokens: 0 },
  output_tokens: output,
  service_tier: plan.tier === "rush" ? "priority" : "standard",
});

function messageOf(answer, { model }, plan, ended) {
  const [choice] = answer.choices;
  const body = {
    id: `msg_${answer.id}`,
    type: "message",
    role: "assistant",
    model,
    content: ended ? choice.blocks.map((block) => blockOf(block, true)) : [],
    ...(ended ? stopOf(choice) : { stop_reason: null, stop_sequence: null }),
  };
  if (plan.usage) body.usage = usageOf(answer, ended ? answer.usage.completion : 1, plan);
  return body;
}

const event = (fields) => `event: ${fields.type}\ndata: ${JSON.stringify(fields)}\n\n`;

function deltaOf({ kind }, text) {
  if (kind === "thinking") return { type: "thinking_delta", thinking: text };
  if (kind === "call") return { type: "input_json_delta", partial_json: text };
  return { type: "text_delta", text };
}

function script(answer, where, plan) {
  const [choice] = answer.choices;
  const delta = (index, fields) => event({ type: "content_block_delta", index, delta: fields });
  const events = blockEvents(choice, {
    open: (block, index) =>
      event({ type: "content_block_start", index, content_block: blockOf(block, false) }) +
      (index === 0 ? event({ type: "ping" }) : "") +
      (block.kind === "call" ? delta(index, deltaOf(block, "")) : ""),
    delta: (block, index, text) => delta(index, deltaOf(block, text)),
    close: (block, index) =>
      (block.kind === "thinking" ? delta(index, { type: "signature_delta", signature: SIGNATURE }) : "") +
      event({ type: "content_block_stop", index }),
  });
  return {
    count: choice.steps.length,
    opening: event({ type: "message_start", message: messageOf(answer, where, plan, false) }),
    token: events.step,
    closing: () =>
      events.end() +
      event({
        type: "message_delta",
        delta: stopOf(choice),
        ...(plan.usage && { usage: usageOf(answer, answer.usage.completion, plan) }),
      }) +
      event({ type: "message_stop" }),
    failure: () => event(refused(told(529))),
    broken: 'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,\n\n',
  };
}

export const anthropic = {
  name: "anthropic",
  refused,
  told,
  read,
  script,
  headers: (entry) => [
    "request-id",
    entry.id,
    "anthropic-organization-id",
    "00000000-0000-4000-8000-000000000000",
    "anthropic-ratelimit-requests-limit",
    "4000",
    "anthropic-ratelimit-requests-remaining",
    "3999",
    "anthropic-ratelimit-requests-reset",
    "2026-01-01T00:00:00Z",
  ],
  whole: (answer, where, plan) => messageOf(answer, where, plan, true),
  broken: '{"id":"msg_broken","type":"message","content":[{',
  streamType: "text/event-stream; charset=utf-8",
  streamEncoding: "utf8",
};

/** `count_tokens` takes what a message takes, without what concerns the answer. */
export function countTokens(body, where) {
  check(body, COUNTED_FIELDS, where);
  return { input_tokens: readPrompt(asked(body)).tokens };
}
