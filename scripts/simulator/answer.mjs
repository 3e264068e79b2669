// What the simulated model says: the same question always gets the same answer, whatever the format.

import { Refusal } from "./errors.mjs";
import { exampleOf } from "./example.mjs";

// Some words need more than one byte a letter, so that a relay which cuts text in the wrong place is seen.
const WORDS = `the a river stone quiet morning letter window garden road small answer question paper light
winter summer bridge clock table simple second color number north island market station yellow silver
café naïve größer señor 東京 привет 😀 follow carry open close listen measure travel build wander remember
because although before after under between seven eleven forty often never always again slowly together`.split(
  /\s+/,
);
/** Characters of one token, where a text is not made of words: JSON and tool arguments. */
const CHARACTERS_PER_TOKEN = 4;
/** A picture counts as many prompt tokens as OpenAI's low detail does. */
const PICTURE_TOKENS = 85;
const THINKING_TOKENS = 6;
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
 * A question, as every format's reader makes it:
 * - `model`; `messages`: each `{role, texts, pictures, calls}`, where calls is the JSON of the tools called
 * - `tools`: each `{name, parameters}`; `toolsText`: their JSON; `only`: the names that may be called, or null;
 *   `mute`: no tool may be called
 * - `asked`: the last message is the user's, and no tool's result
 * - `most`: tokens at most; `stops`: texts that end the answer; `n`: how many answers
 * - `schema`: the answer is JSON that fits it; `anyJson`: the answer is some JSON
 */
export function question(fields) {
  return {
    messages: [],
    tools: [],
    toolsText: "",
    only: null,
    mute: false,
    asked: true,
    most: Infinity,
    stops: [],
    n: 1,
    schema: null,
    anyJson: false,
    ...fields,
  };
}

export const message = (role) => ({ role, texts: [], pictures: 0, calls: null });

/**
 * One pass over the messages gives the prompt's tokens and the answer's seed. Prompt tokens are an estimate:
 * 3, and for every message 3 and a quarter of its characters rounded up, and a quarter of the tools' JSON.
 */
export function readPrompt({ model, messages, toolsText }) {
  let tokens = 3 + Math.ceil(toolsText.length / 4);
  let seed = hash(model);
  const add = (text) => {
    tokens += Math.ceil(text.length / 4);
    seed = hash(text, seed);
  };
  for (const { role, texts, pictures, calls } of messages) {
    tokens += 3 + pictures * PICTURE_TOKENS;
    seed = hash(role, seed);
    texts.forEach(add);
    if (calls !== null) add(calls);
  }
  return { tokens, seed };
}

/** The plan, with the tokens that the prompt asks for: "[usage IN OUT]" or "[usage IN OUT CACHED]". */
export function told({ messages }, plan) {
  const first = messages.find(({ texts }) => texts.length > 0)?.texts[0] ?? "";
  const [, input, output, cached] = /^\[usage (\d{1,7}) (\d{1,5})(?: (\d{1,7}))?\]/.exec(first) ?? [];
  if (input === undefined) return plan;
  return { ...plan, prompt: Number(input), tokens: Number(output), cached: Number(cached ?? plan.cached) };
}

/**
 * Makes the answer: `id` (16 characters), the prompt's tokens and the choices. A choice has `blocks`, each
 * `{kind: "thinking" | "text" | "call", id, name, text}`, and `steps`, its tokens: `{block, text}` in the order
 * in which they are streamed. `finish` is "stop", "length" or "tools"; `stopped` is the stop text that was met.
 */
export function answerTo(asked, plan) {
  const { tokens: counted, seed } = readPrompt(asked);
  const tokens = plan.prompt ?? counted;
  const tools = toolsToCall(asked, plan);
  const choices = [];
  for (let index = 0; index < asked.n; index += 1) {
    const own = (seed + Math.imul(index, 0x9e3779b9)) >>> 0;
    const words = wordsFrom(own);
    const word = () => words.next().value;
    choices.push(tools.length > 0 ? callChoice(tools, own, word, asked, plan) : textChoice(word, asked, plan));
  }
  const cached = Math.min(plan.cached, tokens);
  return {
    id: `${hex(seed)}${hex(hash("id", seed))}`,
    choices,
    usage: {
      prompt: tokens,
      cached,
      written: Math.min(plan.written, tokens - cached),
      completion: sum(choices, (choice) => choice.steps.length),
      thinking: sum(
        choices,
        (choice) => choice.steps.filter(({ block }) => choice.blocks[block].kind === "thinking").length,
      ),
    },
  };
}

const sum = (list, of) => list.reduce((total, one) => total + of(one), 0);

/** An answer of one long text, for the fault `bomb`. */
export function bombAnswer(text) {
  const choice = {
    finish: "stop",
    stopped: null,
    blocks: [{ kind: "text", text }],
    steps: [{ block: 0, text }],
  };
  return {
    id: "b0b0b0b0b0b0b0b0",
    choices: [choice],
    usage: { prompt: 1, cached: 0, written: 0, completion: 1, thinking: 0 },
  };
}

function textChoice(word, asked, plan) {
  let pieces = textPieces(word, asked, plan);
  let stopped = null;
  if (asked.stops.length > 0) ({ pieces, stopped } = cutAtStop(pieces, asked.stops));
  const blocks = thinkingOf(word, plan);
  const block = blocks.length;
  blocks.push({ kind: "text", pieces });
  return choiceOf(
    blocks,
    pieces.map((text) => ({ block, text })),
    asked.most,
    "stop",
    stopped,
  );
}

function textPieces(word, { schema, anyJson }, plan) {
  if (schema !== null) return split(JSON.stringify(exampleOf(schema, word)));
  if (anyJson) return split(JSON.stringify({ answer: Array.from({ length: 6 }, word).join(" ") }));
  return Array.from({ length: plan.tokens }, (_, at) => (at === 0 ? word() : ` ${word()}`));
}

const thinkingOf = (word, plan) =>
  plan.think
    ? [
        {
          kind: "thinking",
          pieces: Array.from({ length: THINKING_TOKENS }, (_, at) => (at === 0 ? word() : ` ${word()}`)),
        },
      ]
    : [];

function split(text) {
  const characters = [...text];
  const pieces = [];
  for (let at = 0; at < characters.length; at += CHARACTERS_PER_TOKEN) {
    pieces.push(characters.slice(at, at + CHARACTERS_PER_TOKEN).join(""));
  }
  return pieces;
}

/** Puts the thinking first and keeps what the caller's cap leaves of it all. */
function choiceOf(blocks, own, most, finish, stopped) {
  const thinking = blocks.flatMap(({ kind, pieces }, block) =>
    kind === "thinking" ? pieces.map((text) => ({ block, text })) : [],
  );
  const all = [...thinking, ...own];
  const steps = all.slice(0, most);
  const cut = steps.length < all.length;
  // A call that was cut off before it began is not there; the first block is, however short the answer.
  const thought = thinking.length > 0 && steps.length >= thinking.length;
  const begun = Math.max(thought ? 1 : 0, ...steps.map(({ block }) => block));
  return {
    finish: cut ? "length" : finish,
    stopped: cut ? null : stopped,
    steps,
    blocks: blocks.slice(0, begun + 1).map(({ pieces, ...block }, index) => ({
      ...block,
      text: steps
        .filter((step) => step.block === index)
        .map(({ text }) => text)
        .join(""),
    })),
  };
}

function cutAtStop(pieces, stops) {
  const text = pieces.join("");
  const found = stops
    .map((stop) => [text.indexOf(stop), stop])
    .filter(([at]) => at >= 0)
    .sort(([a], [b]) => a - b);
  if (found.length === 0) return { pieces, stopped: null };
  let [left, stopped] = found[0];
  const kept = [];
  for (const piece of pieces) {
    if (left <= 0) break;
    kept.push(piece.slice(0, left));
    left -= piece.length;
  }
  return { pieces: kept, stopped };
}

/** Tools are called once: when the last message is the user's. After their results comes text. */
function toolsToCall({ tools, only, mute, asked }, plan) {
  if (tools.length === 0 || mute || !asked) return [];
  if (only === null) return Array.from({ length: Math.max(1, plan.calls) }, (_, at) => tools[at % tools.length]);
  const allowed = tools.find(({ name }) => only.includes(name));
  if (allowed === undefined) {
    throw new Refusal(400, `Tool choice '${only.join(", ")}' not found in 'tools' parameter.`, {
      param: "tool_choice",
    });
  }
  return [allowed];
}

function callChoice(tools, seed, word, asked, plan) {
  const blocks = thinkingOf(word, plan);
  const first = blocks.length;
  for (const [index, tool] of tools.entries()) {
    blocks.push({
      kind: "call",
      id: `${hex(seed)}${hex(hash(tool.name, index + 1))}`,
      name: tool.name,
      pieces: split(JSON.stringify(exampleOf(tool.parameters ?? { type: "object" }, word))),
    });
  }
  // The head of a second or later call counts as a token.
  const steps = blocks
    .slice(first)
    .flatMap(({ pieces }, index) => [
      ...(index === 0 ? [] : [{ block: first + index, text: "" }]),
      ...pieces.map((text) => ({ block: first + index, text })),
    ]);
  return choiceOf(blocks, steps, asked.most, "tools", null);
}

/** The arguments of a call as an object. Those that the token cap cut are no JSON, and then there are none. */
export function inputOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

/**
 * Turns a choice's steps into events, for formats whose streams open and close blocks. `open`, `delta` and
 * `close` give the events' text for a block and its number.
 */
export function blockEvents({ blocks, steps }, { open, delta, close }) {
  let current = -1;
  const shut = () => (current < 0 ? "" : close(blocks[current], current));
  const moveTo = (block) => {
    let text = "";
    while (current < block) {
      text += shut();
      current += 1;
      text += open(blocks[current], current);
    }
    return text;
  };
  return {
    step(at) {
      const { block, text } = steps[at];
      return moveTo(block) + (text === "" ? "" : delta(blocks[block], block, text));
    },
    end: () => moveTo(blocks.length - 1) + shut(),
  };
}
