// Who is asking: each provider wants its key somewhere else, and says so in its own way. Every function returns
// the key. The key "bad-key" is refused everywhere.

import { Refusal } from "./errors.mjs";
import { wrongKey } from "./openai.mjs";
import { verify } from "./sigv4.mjs";

const WRONG = "bad-key";
const bearerOf = (req) => /^Bearer (\S+)$/.exec(req.headers.authorization ?? "")?.[1];

export function bearer(req) {
  const key = bearerOf(req);
  if (key === undefined) {
    throw new Refusal(
      401,
      "You didn't provide an API key. You need to provide it in an Authorization header using " +
        "Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
    );
  }
  if (key === WRONG) throw wrongKey(key);
  return key;
}

export function azure(req) {
  const key = req.headers["api-key"];
  if (key === undefined || key === WRONG) {
    throw new Refusal(
      401,
      "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a " +
        "valid key for an active subscription and use a correct regional API endpoint for your resource.",
      { code: "401" },
    );
  }
  return key;
}

/** Anthropic's newest SDKs send a key as a bearer's, older ones in `x-api-key`. */
export function anthropic(req) {
  const key = req.headers["x-api-key"] ?? bearerOf(req);
  if (key === undefined) throw new Refusal(401, "x-api-key header is required");
  if (key === WRONG) throw new Refusal(401, "invalid x-api-key");
  if (req.headers["anthropic-version"] === undefined)
    throw new Refusal(400, "anthropic-version: header is required");
  return key;
}

/** An API key, or a token as Google's OAuth gives them. A key is never taken from the address. */
export function google(req) {
  const key = req.headers["x-goog-api-key"];
  if (key === WRONG)
    throw new Refusal(400, "API key not valid. Please pass a valid API key.", { code: "API_KEY_INVALID" });
  if (key !== undefined) return key;
  const token = bearerOf(req);
  if (token === WRONG)
    throw new Refusal(401, "Request had invalid authentication credentials. Expected OAuth 2 access token.");
  if (token !== undefined) return token;
  throw new Refusal(
    403,
    "Method doesn't allow unregistered callers (callers without established identity). Please use " +
      "API Key or other form of API consumer identity to call this API.",
  );
}

/** A signature of version 4, or one of Bedrock's own API keys. */
export function aws(req, body) {
  const key = bearerOf(req);
  if (key === WRONG) {
    throw new Refusal(403, "Authentication failed: Please make sure your API Key is valid.", {
      kind: "AccessDeniedException",
    });
  }
  if (key !== undefined) return key;
  if (req.headers.authorization === undefined) {
    throw new Refusal(403, "Missing Authentication Token", { kind: "MissingAuthenticationTokenException" });
  }
  return verify(req, body);
}

export function cloudflare(req) {
  const key = bearerOf(req);
  if (key === undefined || key === WRONG) throw new Refusal(401, "Authentication error", { code: 10_000 });
  return key;
}
