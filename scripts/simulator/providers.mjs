// The simulated provider as rows of TOLLGATE_PROVIDERS, one for each format that it speaks.

/**
 * Names and rows. Keys are taken from SIMULATED_API_KEY.
 * @param {string} url    the simulator's address
 * @param {object} price  the price of every model
 */
export function simulatedProviders(url, price) {
  const row = (path, fields = {}) => ({
    base_url: `${url}${path}`,
    api_key_env: "SIMULATED_API_KEY",
    default_price: price,
    ...fields,
  });
  return {
    simulated: row("/v1"),
    "simulated-responses": row("/v1", { format: "responses" }),
    "simulated-azure": row("/azure/v1", {
      formats: ["openai", "responses"],
      auth: "api-key",
      quirks: ["max_completion_tokens"],
    }),
    "simulated-anthropic": row("/anthropic/v1", { format: "anthropic" }),
    "simulated-gemini": row("/gemini/v1beta", { format: "gemini" }),
    "simulated-bedrock": row("/bedrock", { format: "bedrock" }),
    // Without a key of Bedrock's own a request is signed, with AWS_ACCESS_KEY_ID and the like.
    "simulated-bedrock-signed": row("/bedrock", { format: "bedrock", api_key_env: "SIMULATED_NO_KEY" }),
    "simulated-workers-ai": row("/workers-ai", { embeddings: "workers_ai" }),
  };
}
