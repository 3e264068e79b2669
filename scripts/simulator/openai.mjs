// What OpenAI's endpoints have in common: headers, errors, the list of models.

import { CREATED } from "./answer.mjs";
import { errorFor, Refusal } from "./errors.mjs";

export const MODELS = ["sim-small", "sim-large", "sim-embed"];

const BY_STATUS = {
  403: ["invalid_request_error", "unsupported_country_region_territory"],
  404: ["invalid_request_error", "model_not_found"],
  429: ["requests", "rate_limit_exceeded"],
};

export const openAiHeaders = (entry) => [
  "x-request-id",
  entry.id,
  "openai-version",
  "2020-10-01",
  "openai-processing-ms",
  "1",
  "x-ratelimit-limit-requests",
  "10000",
  "x-ratelimit-remaining-requests",
  "9999",
  "x-ratelimit-reset-requests",
  "6ms",
];

export const refused = ({ message, kind, param, code }) => ({
  error: { message, type: kind ?? "invalid_request_error", param, code },
});

/** The error that `eNNN` asks for, in OpenAI's words. */
export function told(status, key) {
  if (status === 401) return wrongKey(key ?? "none");
  const [kind, code] =
    BY_STATUS[status] ?? (status < 500 ? ["invalid_request_error", null] : ["server_error", null]);
  return Object.assign(errorFor(status), { kind, code });
}

/** Like OpenAI's, it repeats the key. */
export function wrongKey(key) {
  const where = "You can find your API key at https://platform.openai.com/account/api-keys.";
  return new Refusal(401, `Incorrect API key provided: ${key}. ${where}`, { code: "invalid_api_key" });
}

export const wrong = (param, message, code = "invalid_value") => new Refusal(400, message, { param, code });
export const missing = (param) =>
  wrong(param, `Missing required parameter: '${param}'.`, "missing_required_parameter");
export const notList = (param) => wrong(param, `Invalid type for '${param}': expected an array.`, "invalid_type");

/** Checks a whole number from 1 to `most`, where there is one. */
export function counts(body, name, most = Number.MAX_SAFE_INTEGER) {
  const value = body[name];
  if (value === undefined || value === null) return;
  if (!Number.isInteger(value) || value < 1 || value > most) {
    throw wrong(name, `Invalid '${name}': expected an integer from 1 to ${most}.`);
  }
}

export function temperatureOf({ temperature }) {
  if (typeof temperature === "number" && (temperature < 0 || temperature > 2)) {
    throw wrong("temperature", "Invalid 'temperature': expected a decimal from 0 to 2.", "decimal_out_of_range");
  }
}

const card = (id) => ({ id, object: "model", created: CREATED, owned_by: "simulator" });

export const listOfModels = () => ({ object: "list", data: MODELS.map(card) });

export function modelNamed(text) {
  let id = text;
  try {
    id = decodeURIComponent(id);
  } catch {
    // Not valid percent-encoding: then it names no model either.
  }
  const name = id.slice(id.lastIndexOf("/") + 1);
  if (!MODELS.includes(name)) {
    throw new Refusal(404, `The model '${id}' does not exist`, { param: "model", code: "model_not_found" });
  }
  return card(id);
}
