// Errors in OpenAI's shape.

const BY_STATUS = {
  400: ["invalid_request_error", null, "The simulator was told to refuse this request."],
  403: ["invalid_request_error", "unsupported_country_region_territory", "Country, region, or territory not supported"],
  404: ["invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."],
  429: ["requests", "rate_limit_exceeded", "Rate limit reached for requests. Please try again in 1s."],
  500: ["server_error", null, "The server had an error while processing your request. Sorry about that!"],
  503: ["server_error", null, "The engine is currently overloaded, please try again later"],
};

/** A request that must be refused; thrown while a request is read, rendered once by the server. */
export class Refusal extends Error {
  constructor(status, message, { type = "invalid_request_error", param = null, code = null } = {}) {
    super(message);
    this.status = status;
    this.body = { error: { message, type, param, code } };
  }
}

/** Like OpenAI's, it repeats the key. */
export function wrongKey(key) {
  const where = "You can find your API key at https://platform.openai.com/account/api-keys.";
  return new Refusal(401, `Incorrect API key provided: ${key}. ${where}`, { code: "invalid_api_key" });
}

/** The error that `eNNN` asks for. */
export function errorFor(status, key = "none") {
  if (status === 401) return wrongKey(key);
  const [type, code, message] = BY_STATUS[status] ?? BY_STATUS[status < 500 ? 400 : 500];
  return new Refusal(status, message, { type, code });
}
