// OpenAI Chat Completions. Thinking is `reasoning_content`, as DeepSeek, vLLM and others send it.

import { CREATED, message, question } from "./answer.mjs";
import { counts, missing, notList, openAiHeaders, refused, temperatureOf, told, wrong } from "./openai.mjs";
import { tierOf } from "./plan.mjs";

const FINISH = { stop: "stop", length: "length", tools: "tool_calls" };
const LONGEST_USER = 64;
const DONE = "data: [DONE]\n\n";

/** The checks that a caller is likely to run into; other fields may hold anything. */
function check(body) {
  if (body.messages === undefined) throw missing("messages");
  if (!Array.isArray(body.messages)) throw notList("messages");
  if (body.messages.length === 0) throw wrong("messages", "Invalid 'messages': empty array.", "empty_array");
  if (body.messages.some((one) => typeof one?.role !== "string")) throw missing("messages[].role");
  counts(body, "n", 128);
  counts(body, "max_tokens");
  counts(body, "max_completion_tokens");
  temperatureOf(body);
  if (typeof body.user === "string" && body.user.length > LONGEST_USER)
    throw wrong("user", `Invalid 'user': string too long. Expected a string with maximum length ${LONGEST_USER}.`, "string_above_max_length");
  const { response_format: format, stream, tools } = body;
  if (tools !== undefined && !Array.isArray(tools)) throw notList("tools");
  if (format?.type === "json_schema" && typeof format.json_schema?.name !== "string") {
    throw missing("response_format.json_schema.name");
  }
  if (body.stream_options !== undefined && body.stream_options !== null && stream !== true) {
    throw wrong("stream_options", "The 'stream_options' parameter is only allowed when 'stream' is enabled.", null);
  }
  if (/^(o\d|gpt-[5-9])/.test(body.model) && body.max_tokens !== undefined) {
    throw wrong(
      "max_tokens",
      "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
      "unsupported_parameter",
    );
  }
  checkCalls(body.messages);
}

/** Every result of a tool answers a call that stands before it, and every call is answered. */
function checkCalls(messages) {
  let open = new Set();
  for (const [at, { role, tool_calls: calls, tool_call_id: id }] of messages.entries()) {
    if (role === "tool") {
      if (!open.delete(id)) {
        throw wrong(
          `messages.[${at}].role`,
          "Invalid parameter: messages with role 'tool' must be a response to a " +
            "preceding message with 'tool_calls'.",
          null,
        );
      }
      continue;
    }
    checkAnswered(open, at);
    open = new Set(Array.isArray(calls) ? calls.map((call) => call?.id) : []);
  }
  checkAnswered(open, messages.length);
}

function checkAnswered(open, at) {
  if (open.size === 0) return;
  throw wrong(
    `messages.[${at}].role`,
    "An assistant message with 'tool_calls' must be followed by tool messages " +
      `responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: ${[...open].join(", ")}`,
    null,
  );
}

function read(body) {
  check(body);
  const tools = (body.tools ?? [])
    .filter((tool) => typeof tool?.function?.name === "string")
    .map((tool) => tool.function);
  const named = body.tool_choice?.function?.name;
  const format = body.response_format;
  return question({
    model: body.model,
    messages: body.messages.map(readMessage),
    tools,
    toolsText: body.tools === undefined ? "" : JSON.stringify(body.tools),
    mute: body.tool_choice === "none",
    only: named === undefined ? null : [named],
    asked: body.messages.at(-1).role === "user",
    most: body.max_completion_tokens ?? body.max_tokens ?? Infinity,
    stops: [body.stop ?? []].flat().filter((stop) => typeof stop === "string" && stop !== ""),
    n: body.n ?? 1,
    schema: format?.type === "json_schema" ? (format.json_schema.schema ?? {}) : null,
    anyJson: format?.type === "json_object",
  });
}

function readMessage(one) {
  const out = message(one.role);
  if (typeof one.content === "string") out.texts.push(one.content);
  else if (Array.isArray(one.content)) {
    for (const part of one.content) {
      if (typeof part?.text === "string") out.texts.push(part.text);
      else if (part?.type === "image_url") out.pictures += 1;
    }
  }
  if (one.tool_calls !== undefined) out.calls = JSON.stringify(one.tool_calls);
  return out;
}

const callOf = ({ id, name, text }) => ({
  id: `call_${id}`,
  type: "function",
  function: { name, arguments: text },
});

function messageOf({ blocks }) {
  const thinking = blocks.find(({ kind }) => kind === "thinking");
  const calls = blocks.filter(({ kind }) => kind === "call");
  const text = blocks.find(({ kind }) => kind === "text");
  const content = calls.length > 0 ? null : (text?.text ?? "");
  return {
    role: "assistant",
    content,
    ...(thinking && { reasoning_content: thinking.text }),
    ...(calls.length > 0 && { tool_calls: calls.map(callOf) }),
    refusal: null,
    annotations: [],
  };
}

function usageOf({ usage }) {
  return {
    prompt_tokens: usage.prompt,
    completion_tokens: usage.completion,
    total_tokens: usage.prompt + usage.completion,
    prompt_tokens_details: { cached_tokens: usage.cached, audio_tokens: 0 },
    completion_tokens_details: {
      reasoning_tokens: usage.thinking,
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
  };
}

function whole(answer, { model, body: asked }, plan) {
  const body = {
    id: `chatcmpl-${answer.id}`,
    object: "chat.completion",
    created: CREATED,
    model,
    choices: answer.choices.map((choice, index) => ({
      index,
      message: messageOf(choice),
      logprobs: null,
      finish_reason: FINISH[choice.finish],
    })),
  };
  if (plan.usage) body.usage = usageOf(answer);
  const tier = tierOf(asked.service_tier, plan);
  if (tier !== null) body.service_tier = tier;
  body.system_fingerprint = "fp_simulated";
  return body;
}

/** The deltas of one choice. The head of a first call goes into the opening, unless thinking comes before it. */
function deltasOf({ blocks, steps }) {
  const first = blocks.findIndex(({ kind }) => kind === "call");
  const head = (block) => ({
    tool_calls: [
      {
        index: block - first,
        id: `call_${blocks[block].id}`,
        type: "function",
        function: { name: blocks[block].name, arguments: "" },
      },
    ],
  });
  const opening = { role: "assistant", content: first < 0 ? "" : null, ...(first === 0 && head(0)), refusal: null };
  const delta = (at) => {
    const { block, text } = steps[at];
    const { kind } = blocks[block];
    if (kind !== "call") return kind === "text" ? { content: text } : { reasoning_content: text };
    if (text === "") return head(block);
    const piece = { index: block - first, function: { arguments: text } };
    const begins = block > 0 && steps[at - 1]?.block !== block;
    return {
      tool_calls: begins
        ? [{ ...head(block).tool_calls[0], function: { name: blocks[block].name, arguments: text } }]
        : [piece],
    };
  };
  return { opening, delta };
}

function script(answer, { model, body }, plan) {
  const tier = tierOf(body.service_tier, plan);
  const askedForUsage = body.stream_options?.include_usage === true && plan.usage;
  const head =
    `data: {"id":"chatcmpl-${answer.id}","object":"chat.completion.chunk","created":${CREATED},` +
    `"model":${JSON.stringify(model)},${tier === null ? "" : `"service_tier":"${tier}",`}"system_fingerprint":"fp_simulated",`;
  const tail = askedForUsage ? ',"usage":null}\n\n' : "}\n\n";
  const event = (index, delta, finish) =>
    `${head}"choices":[{"index":${index},"delta":${JSON.stringify(delta)},"logprobs":null,"finish_reason":${finish}}]${tail}`;
  const choices = answer.choices.map((choice) => ({
    ...deltasOf(choice),
    count: choice.steps.length,
    end: `"${FINISH[choice.finish]}"`,
  }));
  return {
    count: Math.max(...choices.map(({ count }) => count)),
    opening: choices
      .map(
        ({ opening, count, end }, index) =>
          event(index, opening, "null") + (count === 0 ? event(index, {}, end) : ""),
      )
      .join(""),
    token: (at, unbroken) =>
      choices
        .map(
          ({ delta, count, end }, index) =>
            (at < count ? event(index, delta(at), "null") : "") +
            (at + 1 === count && unbroken ? event(index, {}, end) : ""),
        )
        .join(""),
    closing: () =>
      askedForUsage ? `${head}"choices":[],"usage":${JSON.stringify(usageOf(answer))}}\n\n${DONE}` : DONE,
    failure: () => `data: ${JSON.stringify(refused(told(500)))}\n\n`,
    broken: 'data: {"id":"chatcmpl-broken","choices":[{\n\n',
  };
}

export const chat = {
  name: "chat",
  headers: openAiHeaders,
  refused,
  told,
  read,
  whole,
  script,
  broken: '{"id":"chatcmpl-broken","object":"chat.completion","choices":[{',
  streamType: "text/event-stream; charset=utf-8",
  streamEncoding: "utf8",
};
