// Where the gateway and the simulated provider are, and clients for them.

import { randomUUID } from "node:crypto";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const NEEDED = {
  TOLLGATE_BASE_URL: "the gateway's address without /v1, for example http://127.0.0.1:8787",
  TOLLGATE_KEY: "a key of the demo tenant, whose alias `fast` is a simulated model",
  TOLLGATE_ADMIN_TOKEN: "the operator's token",
  SIMULATOR_URL: "the simulated provider's address without /v1",
};
const missing = Object.keys(NEEDED).filter((name) => !process.env[name]);
if (missing.length > 0) throw new Error(missing.map((name) => `${name} is not set: ${NEEDED[name]}`).join("\n"));

export const value = (name) => process.env[name].replace(/\/+$/, "");

/** The base address is the simulated provider itself: only what needs no gateway is tested. */
export const DIRECT = process.env.SDK_DIRECT === "1";
/** Options of a test that only the gateway can pass. */
export const gateway = { skip: DIRECT && "needs the gateway" };
/** A model by its provider and name: quick, and 32 tokens unless it is capped. */
export const MODEL = "simulated/sim-small-t5-i2-n32";
/** The demo tenant's alias of a simulated model. The provider knows no aliases. */
export const FAST = DIRECT ? "sim-small" : "fast";

/** A client with the SDK's own defaults, but for a time limit that suits a test. */
export function clientFor(key = value("TOLLGATE_KEY"), options = {}) {
  return new OpenAI({ apiKey: key, baseURL: `${value("TOLLGATE_BASE_URL")}/v1`, timeout: 20_000, ...options });
}

/** The same for Anthropic's SDK. */
export function anthropicFor(key = value("TOLLGATE_KEY"), options = {}) {
  const baseURL = `${value("TOLLGATE_BASE_URL")}${DIRECT ? "/anthropic" : ""}`;
  return new Anthropic({ apiKey: key, baseURL, timeout: 20_000, ...options });
}

/** A client and the list of the answers that it gets, which grows with every attempt the SDK makes. */
export function countingClient(key, options = {}) {
  const answers = [];
  const counting = async (url, init) => {
    const answer = await fetch(url, init);
    answers.push(answer);
    return answer;
  };
  return { client: clientFor(key, { fetch: counting, ...options }), answers };
}

/** Makes a prompt one of a kind: no cache knows it, and the journal finds it. */
export const marker = () => `marker-${randomUUID().replaceAll("-", "")}`;
export const user = (text) => [{ role: "user", content: `How far is the harbour? ${text}` }];
export const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

/** One pixel. */
export const PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
export const SCHEMA = {
  type: "object", required: ["city", "days"], additionalProperties: false,
  properties: { city: { type: "string" }, days: { type: "integer", enum: [2] } },
};

export const contentOf = (chunk) => chunk.choices[0]?.delta.content ?? "";

/** The error that a promise is rejected with. */
export async function refusal(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("the request was not refused");
}
