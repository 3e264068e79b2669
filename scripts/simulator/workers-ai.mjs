// Workers AI as its binding speaks it: the inputs and the model's name come to one address, and the answer
// is the result alone. Most models have words of their own; those with "openai" in their name speak OpenAI's.

import { inputOf } from "./answer.mjs";
import { chat } from "./chat.mjs";
import { Refusal, errorFor, isObject } from "./errors.mjs";
import { workersAi as embeddings } from "./other-embeddings.mjs";

const bad = (message) => new Refusal(400, `AiError: Bad input: Error: ${message}`, { code: 5_006 });

/** What the schema of the inputs refuses. */
function check(inputs) {
  for (const name of ["model", "stream_options", "n", "user"]) {
    if (inputs[name] !== undefined) throw bad(`unexpected property '${name}'`);
  }
  if (!Array.isArray(inputs.messages)) throw bad("required properties at '/' are 'messages'");
  if (inputs.messages.some(({ content }) => typeof content !== "string" && !Array.isArray(content))) {
    throw bad("Type mismatch of '/messages/0/content', 'array' not in 'string'");
  }
  const schema = inputs.response_format?.json_schema;
  if (schema?.schema !== undefined) throw bad("'/response_format/json_schema' is no JSON schema");
}

/** The same question in the words that the reader of chat completions knows. */
function asChat(inputs) {
  const { response_format: format } = inputs;
  if (format?.type !== "json_schema") return inputs;
  return { ...inputs, response_format: { ...format, json_schema: { name: "answer", schema: format.json_schema } } };
}

const ofOpenAi = ({ model }) => model.includes("openai");
const usageOf = ({ usage }) => ({
  prompt_tokens: usage.prompt,
  completion_tokens: usage.completion,
  total_tokens: usage.prompt + usage.completion,
  prompt_tokens_details: { cached_tokens: usage.cached },
});
const callsOf = (blocks) => blocks.filter(({ kind }) => kind === "call");
const textOf = (blocks) => blocks.find(({ kind }) => kind === "text")?.text ?? "";

function whole(answer, asked, plan) {
  if (ofOpenAi(asked)) return chat.whole(answer, asked, plan);
  const { blocks } = answer.choices[0];
  const calls = callsOf(blocks);
  const text = textOf(blocks);
  const json = asked.body.inputs?.response_format?.type === "json_schema";
  return {
    response: calls.length > 0 ? null : json ? inputOf(text) : text,
    tool_calls: calls.map(({ name, text }) => ({ name, arguments: inputOf(text) })),
    ...(plan.usage && { usage: usageOf(answer) }),
  };
}

function script(answer, asked, plan) {
  if (ofOpenAi(asked)) {
    return chat.script(answer, { ...asked, body: { ...asked.body.inputs, stream_options: { include_usage: true } } }, plan);
  }
  const { blocks, steps } = answer.choices[0];
  const event = (body) => `data: ${JSON.stringify(body)}\n\n`;
  return {
    count: steps.length,
    opening: "",
    // Calls come whole, at their last token.
    token: (at) => {
      const { block, text } = steps[at];
      if (blocks[block].kind === "text") return event({ response: text, p: "abcd" });
      if (steps[at + 1]?.block === block) return event({ response: "" });
      const { name, text: all } = blocks[block];
      return event({ response: "", tool_calls: [{ name, arguments: inputOf(all) }] });
    },
    closing: () => `${plan.usage ? event({ response: "", usage: usageOf(answer) }) : ""}data: [DONE]\n\n`,
    failure: () => event({ internalCode: 3040, name: "AiError", description: "Capacity temporarily exceeded, please try again." }),
    broken: 'data: {"response":"a\n\n',
  };
}

/** What the binding is told of an error. */
const refused = ({ message, code }) => ({ internalCode: code ?? 5_007, name: "AiError", description: message });

export const workersAiRun = {
  ...chat,
  name: "workers-ai-run",
  headers: (entry) => ["cf-ai-req-id", entry.id],
  refused,
  told: (status) => Object.assign(errorFor(status), { code: status === 429 ? 3_040 : 3_043 }),
  read({ inputs }, { model }) {
    check(inputs);
    return chat.read({ ...asChat(inputs), model });
  },
  whole,
  script,
};

/** The route of the binding's one address; what it is to do stands in the request. */
export const run = {
  format: workersAiRun,
  /** The model stands in a header, the inputs in the body. */
  of(body, headers) {
    if (!isObject(body.inputs) || body.options?.returnRawResponse !== true) throw bad("no inputs");
    const model = headers["cf-consn-model-id"];
    const embeds = body.inputs.text !== undefined;
    return { model, stream: body.inputs.stream === true, make: embeds ? () => embeddings(body.inputs).result : undefined };
  },
};
