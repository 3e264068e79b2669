// One question, a tool and a schema for every format.

export const QUESTION = "How far is the harbour?";

export const SCHEMA = {
  type: "object", required: ["city", "days"], additionalProperties: false,
  properties: { city: { type: "string" }, days: { type: "integer", enum: [2] } },
};

/** The smallest picture there is: one pixel. */
export const PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/** The error that a promise is rejected with. */
export async function refusal(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("the request was not refused");
}

export async function collect(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}
