// What the simulated model says: the same request always gets the same answer.

import { Refusal } from "./errors.mjs";
import { exampleOf } from "./example.mjs";

// Some words need more than one byte a letter, so that a relay which cuts text in the wrong place is seen.
const WORDS = `the a river stone quiet morning letter window garden road small answer question paper light
winter summer bridge clock table simple second color number north island market station yellow silver
café naïve größer señor 東京 привет 😀 follow carry open close listen measure travel build wander remember
because although before after under between seven eleven forty often never always again slowly together`
  .split(/\s+/);
/** Characters of one token, where a text is not made of words: JSON and tool arguments. */
const CHARACTERS_PER_TOKEN = 4;
/** An image counts as many prompt tokens as OpenAI's low detail does. */
const IMAGE_TOKENS = 85;
/** `created` is a constant because it is part of the answer. */
export const CREATED = 1_700_000_000;

/** FNV-1a, 32 bits. */
export function hash(text, seed = 0x811c9dc5) {
  let h = seed;
  for (let i = 0; i < text.length; i += 1) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h >>> 0;
}

const hex = (number) => (number >>> 0).toString(16).padStart(8, "0");

function* wordsFrom(seed) {
  for (let state = seed | 1; ;) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield WORDS[(state >>> 8) % WORDS.length];
  }
}

/**
 * One pass over the messages gives the prompt's tokens and the answer's seed. Prompt tokens are an estimate:
 * 3, and for every message 3 and a quarter of its characters rounded up, and a quarter of the tools' JSON.
 */
function readPrompt(body) {
  let tokens = 3;
  let seed = hash(body.model);
  const add = (text) => {
    tokens += Math.ceil(text.length / 4);
    seed = hash(text, seed);
  };
  for (const message of body.messages) {
    tokens += 3;
    seed = hash(String(message.role), seed);
    if (typeof message.content === "string") add(message.content);
    else if (Array.isArray(message.content)) {
      for (const part of message.content) {
        if (typeof part?.text === "string") add(part.text);
        else if (part?.type === "image_url") tokens += IMAGE_TOKENS;
      }
    }
    if (message.tool_calls !== undefined) add(JSON.stringify(message.tool_calls));
  }
  if (body.tools !== undefined) tokens += Math.ceil(JSON.stringify(body.tools).length / 4);
  return { tokens, seed };
}

/**
 * Makes the answer to a request that was checked: its id, its prompt tokens and its choices. A choice has
 * `steps` tokens; `delta(k)` is the JSON of the k-th one in a stream, `message()` is all of them at once.
 */
export function answerTo(body, plan) {
  const { tokens, seed } = readPrompt(body);
  const tools = toolsToCall(body, plan);
  const most = body.max_completion_tokens ?? body.max_tokens ?? Infinity;
  const stops = [body.stop ?? []].flat().filter((stop) => typeof stop === "string" && stop !== "");
  const choices = [];
  for (let index = 0; index < (body.n ?? 1); index += 1) {
    const own = (seed + Math.imul(index, 0x9e3779b9)) >>> 0;
    if (tools.length > 0) choices.push(toolChoice(tools, own, most));
    else choices.push(textChoice(textPieces(body, plan, own), stops, most));
  }
  return { id: `chatcmpl-${hex(seed)}${hex(hash("id", seed))}`, promptTokens: tokens, choices };
}

function textPieces(body, plan, seed) {
  const words = wordsFrom(seed);
  const word = () => words.next().value;
  const format = body.response_format?.type;
  if (format === "json_schema") {
    return split(JSON.stringify(exampleOf(body.response_format.json_schema.schema ?? {}, word)));
  }
  if (format === "json_object") {
    return split(JSON.stringify({ answer: Array.from({ length: 6 }, word).join(" ") }));
  }
  return Array.from({ length: plan.tokens }, (_, at) => (at === 0 ? word() : ` ${word()}`));
}

function split(text) {
  const characters = [...text];
  const pieces = [];
  for (let at = 0; at < characters.length; at += CHARACTERS_PER_TOKEN) {
    pieces.push(characters.slice(at, at + CHARACTERS_PER_TOKEN).join(""));
  }
  return pieces;
}

function textChoice(all, stops, most) {
  let pieces = all;
  let finish = "stop";
  if (stops.length > 0) pieces = cutAtStop(pieces, stops);
  if (pieces.length > most) {
    pieces = pieces.slice(0, most);
    finish = "length";
  }
  return {
    finish,
    steps: pieces.length,
    opening: '{"role":"assistant","content":"","refusal":null}',
    delta: (step) => `{"content":${JSON.stringify(pieces[step])}}`,
    message: () => ({ role: "assistant", content: pieces.join(""), refusal: null, annotations: [] }),
  };
}

function cutAtStop(pieces, stops) {
  const text = pieces.join("");
  const found = stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
  if (found.length === 0) return pieces;
  let left = Math.min(...found);
  const kept = [];
  for (const piece of pieces) {
    if (left <= 0) break;
    kept.push(piece.slice(0, left));
    left -= piece.length;
  }
  return kept;
}

/** Tools are called once: when the last message is the user's. After their results comes text. */
function toolsToCall(body, plan) {
  const tools = (body.tools ?? []).filter((tool) => typeof tool?.function?.name === "string");
  if (tools.length === 0 || body.tool_choice === "none" || body.messages.at(-1)?.role !== "user") return [];
  const named = body.tool_choice?.function?.name;
  if (named === undefined) {
    return Array.from({ length: Math.max(1, plan.calls) }, (_, at) => tools[at % tools.length].function);
  }
  const tool = tools.find((candidate) => candidate.function?.name === named);
  if (tool === undefined) {
    throw new Refusal(400, `Tool choice '${named}' not found in 'tools' parameter.`, { param: "tool_choice" });
  }
  return [tool.function];
}

function toolChoice(tools, seed, most) {
  const words = wordsFrom(seed);
  const calls = tools.map((tool, index) => ({
    id: `call_${hex(seed)}${hex(hash(tool.name, index + 1))}`,
    name: tool.name,
    pieces: split(JSON.stringify(exampleOf(tool.parameters ?? { type: "object" }, () => words.next().value))),
  }));
  const head = (index) => ({
    index, id: calls[index].id, type: "function", function: { name: calls[index].name, arguments: "" },
  });
  // A step of a second or later call begins with that call's head, which counts as a token.
  const steps = calls.flatMap(({ pieces }, index) => [
    ...(index === 0 ? [] : [{ index, head: true, text: "" }]),
    ...pieces.map((text) => ({ index, head: false, text })),
  ]);
  const kept = steps.slice(0, most);
  return {
    finish: kept.length < steps.length ? "length" : "tool_calls",
    steps: kept.length,
    opening: JSON.stringify({ role: "assistant", content: null, tool_calls: [head(0)], refusal: null }),
    delta: (step) => {
      const { index, head: begins, text } = kept[step];
      return JSON.stringify({ tool_calls: [begins ? head(index) : { index, function: { arguments: text } }] });
    },
    message: () => {
      const begun = new Set([0, ...kept.map(({ index }) => index)]);
      const tool_calls = [...begun].map((index) => {
        const text = kept.filter((step) => step.index === index).map((step) => step.text).join("");
        return { id: calls[index].id, type: "function", function: { name: calls[index].name, arguments: text } };
      });
      return { role: "assistant", content: null, tool_calls, refusal: null, annotations: [] };
    },
  };
}

export function usageOf(answer) {
  const completion = answer.choices.reduce((sum, choice) => sum + choice.steps, 0);
  return {
    prompt_tokens: answer.promptTokens,
    completion_tokens: completion,
    total_tokens: answer.promptTokens + completion,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
    completion_tokens_details: {
      reasoning_tokens: 0, audio_tokens: 0, accepted_prediction_tokens: 0, rejected_prediction_tokens: 0,
    },
  };
}
