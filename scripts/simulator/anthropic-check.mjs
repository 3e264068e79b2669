// What Anthropic refuses in a conversation.

import { isObject, Refusal } from "./errors.mjs";

/** Rules may be given in the middle of a conversation too; its first message is the user's. */
const ROLES = new Set(["user", "assistant", "system"]);

const wrong = (text) => new Refusal(400, text);

/** The fields that a block must have besides its type. */
const BLOCKS = {
  text: ["text"],
  image: ["source"],
  document: ["source"],
  tool_use: ["id", "name", "input"],
  tool_result: ["tool_use_id"],
  thinking: ["thinking", "signature"],
  redacted_thinking: ["data"],
  search_result: ["source", "title", "content"],
};

export function checkMessages({ messages, system }) {
  if (messages === undefined) throw wrong("messages: Field required");
  if (!Array.isArray(messages)) throw wrong("messages: Input should be a valid list");
  if (messages.length === 0) throw wrong("messages: at least one message is required");
  if (system !== undefined && typeof system !== "string" && !Array.isArray(system)) {
    throw wrong("system: Input should be a valid string or list");
  }
  messages.forEach(checkMessage);
  if (messages[0].role !== "user") throw wrong('messages: first message must use the "user" role');
  checkTools(messages);
}

function checkMessage(message, at) {
  const { role, content } = isObject(message) ? message : {};
  if (!ROLES.has(role)) throw wrong(`messages.${at}.role: Input should be 'user', 'assistant' or 'system'`);
  if (content === undefined || content === null) throw wrong(`messages.${at}.content: Field required`);
  if (content === "") throw wrong(`messages.${at}: user messages must have non-empty content`);
  if (typeof content === "string") return;
  if (!Array.isArray(content)) throw wrong(`messages.${at}.content: Input should be a valid list`);
  if (content.length === 0 && role === "user")
    throw wrong(`messages.${at}: user messages must have non-empty content`);
  for (const [index, block] of content.entries()) checkBlock(block, `messages.${at}.content.${index}`);
}

function checkBlock(block, place) {
  const needed = BLOCKS[block?.type];
  if (needed === undefined)
    throw wrong(`${place}: Input tag '${block?.type}' found using 'type' does not match any of the expected tags`);
  const lost = needed.find((name) => block[name] === undefined || block[name] === null);
  if (lost !== undefined) throw wrong(`${place}.${block.type}.${lost}: Field required`);
  if (block.type === "text" && String(block.text).trim() === "")
    throw wrong("messages: text content blocks must contain non-whitespace text");
  if (block.type === "tool_use" && !isObject(block.input))
    throw wrong(`${place}.tool_use.input: Input should be a valid dictionary`);
  if (block.type === "tool_use" && !/^[a-zA-Z0-9_-]+$/.test(block.id)) {
    throw wrong(`${place}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'`);
  }
  if (block.type === "image") checkPicture(block.source, `${place}.image.source`);
}

function checkPicture(source, place) {
  if (source.type === "url") return;
  if (source.type !== "base64")
    throw wrong(`${place}: Input tag '${source.type}' does not match any of the expected tags`);
  if (!["image/png", "image/jpeg", "image/gif", "image/webp"].includes(source.media_type)) {
    throw wrong(
      `${place}.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'`,
    );
  }
  if (typeof source.data !== "string" || source.data === "") throw wrong(`${place}.base64.data: Field required`);
}

/** What an answer can be held to is a part of the language of schemas. */
export function checkSchema(schema, place) {
  if (!isObject(schema)) return;
  if (schema.type === "object" && schema.additionalProperties !== false)
    throw wrong(`${place}: For 'object' type, 'additionalProperties' must be explicitly set to false`);
  const refused = ["minimum", "maximum", "minLength", "maxLength", "pattern", "maxItems"].find((name) => schema[name] !== undefined);
  if (refused !== undefined) throw wrong(`${place}: For '${schema.type}' type, property '${refused}' is not supported`);
  for (const inner of [...Object.values(schema.properties ?? {}), schema.items, ...(schema.anyOf ?? [])]) checkSchema(inner, place);
}

/** Every call has its result in the next message, and every result its call in the one before. */
function checkTools(messages) {
  const blocks = ({ content }) => (Array.isArray(content) ? content : []);
  for (const [at, message] of messages.entries()) {
    const next = blocks(messages[at + 1] ?? {})
      .filter(({ type }) => type === "tool_result")
      .map((block) => block.tool_use_id);
    const calls = blocks(message)
      .filter(({ type }) => type === "tool_use")
      .map(({ id }) => id);
    const open = at + 1 < messages.length ? calls.filter((id) => !next.includes(id)) : [];
    if (open.length > 0) {
      throw wrong(
        `messages.${at}: \`tool_use\` ids were found without \`tool_result\` blocks immediately after: ${open.join(", ")}. ` +
          "Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
      );
    }
    const before = blocks(messages[at - 1] ?? {})
      .filter(({ type }) => type === "tool_use")
      .map(({ id }) => id);
    const found = blocks(message)
      .filter(({ type }) => type === "tool_result")
      .map((block) => block.tool_use_id);
    const lost = found.find((id) => !before.includes(id));
    if (lost !== undefined) {
      throw wrong(
        `messages.${at}.content.0: unexpected \`tool_use_id\` found in \`tool_result\` blocks: ${lost}. ` +
          "Each `tool_result` block must have a corresponding `tool_use` block in the previous message.",
      );
    }
  }
}
