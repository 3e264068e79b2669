// OpenAI Responses.

import { CREATED, blockEvents, message, question } from "./answer.mjs";
import { isObject } from "./errors.mjs";
import { counts, missing, notList, openAiHeaders, refused, temperatureOf, told, wrong } from "./openai.mjs";
import { tierOf } from "./plan.mjs";

const ROLES = new Set(["user", "assistant", "system", "developer"]);
const LEAST_OUTPUT_TOKENS = 16;

function check(body) {
  const { input, tools, text } = body;
  if (input === undefined || input === null) throw missing("input");
  if (typeof input !== "string" && !Array.isArray(input))
    throw wrong("input", "Invalid type for 'input'.", "invalid_type");
  if (tools !== undefined && tools !== null && !Array.isArray(tools)) throw notList("tools");
  for (const [at, tool] of (tools ?? []).entries()) {
    if (typeof tool?.type !== "string") throw missing(`tools[${at}].type`);
    // The other format keeps this in an object of its own.
    if (tool.type === "function" && typeof tool.name !== "string") throw missing(`tools[${at}].name`);
  }
  counts(body, "max_output_tokens");
  if (Number.isInteger(body.max_output_tokens) && body.max_output_tokens < LEAST_OUTPUT_TOKENS) {
    throw wrong(
      "max_output_tokens",
      `Invalid 'max_output_tokens': integer below minimum value. Expected a value >= ${LEAST_OUTPUT_TOKENS}.`,
      "integer_below_min_value",
    );
  }
  temperatureOf(body);
  for (const name of ["messages", "response_format", "max_tokens", "max_completion_tokens", "n"]) {
    if (name in body) throw wrong(name, `Unknown parameter: '${name}'.`, "unknown_parameter");
  }
  if (text?.format?.type === "json_schema") {
    if (typeof text.format.name !== "string") throw missing("text.format.name");
    if (!isObject(text.format.schema)) throw missing("text.format.schema");
  }
  if (Array.isArray(input)) checkItems(input);
}

function checkItems(input) {
  const calls = new Set();
  for (const [at, item] of input.entries()) {
    const type = item?.type ?? "message";
    if (type === "message" && !ROLES.has(item?.role))
      throw wrong(`input[${at}].role`, `Invalid value: '${item?.role}'.`);
    if (type === "function_call") calls.add(item.call_id);
    if (type === "function_call_output") {
      if (typeof item.output !== "string" && !Array.isArray(item.output)) throw missing(`input[${at}].output`);
      if (!calls.has(item.call_id)) {
        throw wrong("input", `No tool call found for function call output with call_id ${item.call_id}.`, null);
      }
    }
  }
}

function read(body) {
  check(body);
  const items = typeof body.input === "string" ? [{ role: "user", content: body.input }] : body.input;
  const messages = items.map(readItem);
  if (typeof body.instructions === "string") messages.unshift({ ...message("system"), texts: [body.instructions] });
  const choice = body.tool_choice;
  return question({
    model: body.model,
    messages,
    tools: (body.tools ?? []).filter(({ type }) => type === "function"),
    toolsText: body.tools?.length > 0 ? JSON.stringify(body.tools) : "",
    mute: choice === "none",
    only: choice?.type === "function" ? [choice.name] : null,
    asked: messages.at(-1)?.role === "user",
    most: body.max_output_tokens ?? Infinity,
    schema: body.text?.format?.type === "json_schema" ? body.text.format.schema : null,
    anyJson: body.text?.format?.type === "json_object",
  });
}

function readItem(item) {
  const out = message(item.role ?? (item.type === "function_call_output" ? "tool" : "assistant"));
  if (typeof item.content === "string") out.texts.push(item.content);
  else
    for (const part of Array.isArray(item.content) ? item.content : []) {
      if (typeof part?.text === "string") out.texts.push(part.text);
      else if (part?.type === "input_image") out.pictures += 1;
    }
  if (item.type === "function_call") out.calls = JSON.stringify(item);
  if (typeof item.output === "string") out.texts.push(item.output);
  return out;
}

const idOf = (answer, block) => `${answer.id}${String(block).padStart(2, "0")}`;
const textPart = (text) => ({ type: "output_text", annotations: [], logprobs: [], text });
const summaryPart = (text) => ({ type: "summary_text", text });

/** An output item; `done` is false while it is being streamed. */
function itemOf(answer, block, number, done = true) {
  const id = idOf(answer, number);
  const status = done ? "completed" : "in_progress";
  const text = done ? block.text : "";
  if (block.kind === "thinking")
    return { id: `rs_${id}`, type: "reasoning", summary: done ? [summaryPart(text)] : [] };
  if (block.kind === "call") {
    return {
      id: `fc_${id}`,
      type: "function_call",
      status,
      arguments: text,
      call_id: `call_${block.id}`,
      name: block.name,
    };
  }
  return { id: `msg_${id}`, type: "message", status, role: "assistant", content: done ? [textPart(text)] : [] };
}

function usageOf({ usage }) {
  return {
    input_tokens: usage.prompt,
    input_tokens_details: { cached_tokens: usage.cached },
    output_tokens: usage.completion,
    output_tokens_details: { reasoning_tokens: usage.thinking },
    total_tokens: usage.prompt + usage.completion,
  };
}

/** The response object; `output` is null while it has not ended. */
function responseOf(answer, { model, body }, plan, output) {
  const [choice] = answer.choices;
  const ended = output !== null;
  const incomplete = ended && choice.finish === "length";
  return {
    id: `resp_${answer.id}`,
    object: "response",
    created_at: CREATED,
    status: !ended ? "in_progress" : incomplete ? "incomplete" : "completed",
    background: false,
    error: null,
    incomplete_details: incomplete ? { reason: "max_output_tokens" } : null,
    instructions: body.instructions ?? null,
    max_output_tokens: body.max_output_tokens ?? null,
    model,
    output: output ?? [],
    parallel_tool_calls: body.parallel_tool_calls ?? true,
    previous_response_id: body.previous_response_id ?? null,
    reasoning: { effort: null, summary: null, ...body.reasoning },
    service_tier: tierOf(body.service_tier, plan) ?? undefined,
    store: body.store ?? true,
    temperature: body.temperature ?? 1,
    text: { format: { type: "text" }, ...body.text },
    tool_choice: body.tool_choice ?? "auto",
    tools: body.tools ?? [],
    top_p: body.top_p ?? 1,
    truncation: "disabled",
    usage: ended && plan.usage ? usageOf(answer) : null,
    user: null,
    metadata: body.metadata ?? {},
  };
}

const outputOf = (answer) => answer.choices[0].blocks.map((block, at) => itemOf(answer, block, at));

const whole = (answer, asked, plan) => responseOf(answer, asked, plan, outputOf(answer));

function script(answer, asked, plan) {
  const [choice] = answer.choices;
  let number = 0;
  const event = (type, fields) => {
    const text = `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: number, ...fields })}\n\n`;
    number += 1;
    return text;
  };
  const where = (block, at) => ({ item_id: itemOf(answer, block, at).id, output_index: at });
  // Each kind of item: what follows its `added`, its deltas, and what comes before its `done`.
  const kinds = {
    text: {
      open: (at) => event("response.content_part.added", { ...at, content_index: 0, part: textPart("") }),
      delta: (at, delta) => event("response.output_text.delta", { ...at, content_index: 0, delta, logprobs: [] }),
      close: (at, text) =>
        event("response.output_text.done", { ...at, content_index: 0, text, logprobs: [] }) +
        event("response.content_part.done", { ...at, content_index: 0, part: textPart(text) }),
    },
    thinking: {
      open: (at) =>
        event("response.reasoning_summary_part.added", { ...at, summary_index: 0, part: summaryPart("") }),
      delta: (at, delta) => event("response.reasoning_summary_text.delta", { ...at, summary_index: 0, delta }),
      close: (at, text) =>
        event("response.reasoning_summary_text.done", { ...at, summary_index: 0, text }) +
        event("response.reasoning_summary_part.done", { ...at, summary_index: 0, part: summaryPart(text) }),
    },
    call: {
      open: () => "",
      delta: (at, delta) => event("response.function_call_arguments.delta", { ...at, delta }),
      close: (at, text, { name }) =>
        event("response.function_call_arguments.done", { ...at, name, arguments: text }),
    },
  };
  const events = blockEvents(choice, {
    open: (block, at) =>
      event("response.output_item.added", { output_index: at, item: itemOf(answer, block, at, false) }) +
      kinds[block.kind].open(where(block, at)),
    delta: (block, at, text) => kinds[block.kind].delta(where(block, at), text),
    close: (block, at) =>
      kinds[block.kind].close(where(block, at), block.text, block) +
      event("response.output_item.done", { output_index: at, item: itemOf(answer, block, at) }),
  });
  const begun = responseOf(answer, asked, plan, null);
  return {
    count: choice.steps.length,
    opening: event("response.created", { response: begun }) + event("response.in_progress", { response: begun }),
    token: events.step,
    closing: () =>
      events.end() +
      event(choice.finish === "length" ? "response.incomplete" : "response.completed", {
        response: whole(answer, asked, plan),
      }),
    failure: () => {
      const { message: text } = told(500);
      const error = { code: "server_error", message: text };
      return (
        event("error", { ...error, param: null }) +
        event("response.failed", { response: { ...begun, status: "failed", error } })
      );
    },
    broken: 'event: response.output_text.delta\ndata: {"type":"response.output\n\n',
  };
}

export const responses = {
  name: "responses",
  headers: openAiHeaders,
  refused,
  told,
  read,
  whole,
  script,
  broken: '{"id":"resp_broken","object":"response","output":[{',
  streamType: "text/event-stream; charset=utf-8",
  streamEncoding: "utf8",
};
