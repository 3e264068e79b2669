// A request that is refused, in no format yet: each format's `refused` writes it in its own shape.

/** Thrown while a request is read, rendered once by the server. `kind` is the format's own word for it. */
export class Refusal extends Error {
  constructor(status, message, { kind = null, param = null, code = null } = {}) {
    super(message);
    this.status = status;
    this.kind = kind;
    this.param = param;
    this.code = code;
  }
}

const MESSAGES = {
  400: "The simulator was told to refuse this request.",
  403: "You are not allowed to use this model.",
  404: "The model does not exist or you do not have access to it.",
  429: "Rate limit reached for requests. Please try again in 1s.",
  500: "The server had an error while processing your request. Sorry about that!",
  503: "The engine is currently overloaded, please try again later",
  529: "Overloaded",
};

/** The error that `eNNN` asks for. */
export function errorFor(status) {
  return new Refusal(status, MESSAGES[status] ?? MESSAGES[status < 500 ? 400 : 500]);
}

export const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

/** The first field of `body` that is not in `known`, or undefined. */
export const unknownField = (body, known) => Object.keys(body).find((name) => !known.has(name));
