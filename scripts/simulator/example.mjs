// A value that satisfies a JSON schema: for structured output and tool arguments.

/** From this depth on optional branches are left out, which ends recursive schemas. */
const SHALLOW = 6;
/** A schema that is still not at an end here has no finite value. */
const DEEPEST = 32;
const LONGEST_LIST = 64;
const LONGEST_TEXT = 4_096;

const FORMATS = {
  "date-time": "2026-01-02T03:04:05Z",
  date: "2026-01-02",
  time: "03:04:05Z",
  duration: "PT5M",
  email: "someone@example.com",
  hostname: "example.com",
  ipv4: "192.0.2.1",
  ipv6: "2001:db8::1",
  uuid: "00000000-0000-4000-8000-000000000000",
  uri: "https://example.com/",
};

/**
 * Honours type, properties, required, items, enum, const, anyOf, oneOf, allOf, local $ref, the numeric bounds,
 * lengths and well-known formats. `pattern` is not honoured. `word` gives the next word of the answer.
 */
export function exampleOf(schema, word, root = schema, depth = 0) {
  if (schema === null || typeof schema !== "object" || depth > DEEPEST) return null;
  if (typeof schema.$ref === "string") return exampleOf(resolve(schema.$ref, root), word, root, depth + 1);
  if ("const" in schema) return schema.const;
  if (Array.isArray(schema.enum) && schema.enum.length > 0) return schema.enum[0];
  const branches = schema.anyOf ?? schema.oneOf;
  if (Array.isArray(branches) && branches.length > 0) {
    const nothing = branches.find((branch) => branch?.type === "null");
    const first = branches.find((branch) => branch?.type !== "null");
    return exampleOf(depth >= SHALLOW ? (nothing ?? first) : (first ?? nothing), word, root, depth + 1);
  }
  const whole = Array.isArray(schema.allOf) ? merge(schema, root) : schema;
  switch (typeOf(whole)) {
    case "object": return objectOf(whole, word, root, depth);
    case "array": return listOf(whole, word, root, depth);
    case "integer": return numberOf(whole, 1);
    case "number": return numberOf(whole, 1.5);
    case "boolean": return true;
    case "null": return null;
    default: return textOf(whole, word);
  }
}

function typeOf(schema) {
  if (Array.isArray(schema.type)) return schema.type.find((type) => type !== "null") ?? "null";
  if (schema.type !== undefined) return schema.type;
  if (schema.properties !== undefined) return "object";
  if (schema.items !== undefined || schema.prefixItems !== undefined) return "array";
  return "string";
}

function resolve(reference, root) {
  let at = root;
  for (const step of reference.replace(/^#\/?/, "").split("/").filter(Boolean)) {
    at = at?.[decodeURIComponent(step).replace(/~1/g, "/").replace(/~0/g, "~")];
  }
  return at;
}

function merge(schema, root) {
  const { allOf, ...whole } = schema;
  for (const listed of allOf) {
    const part = typeof listed?.$ref === "string" ? resolve(listed.$ref, root) : listed;
    const properties = { ...whole.properties, ...part?.properties };
    const required = [...(whole.required ?? []), ...(part?.required ?? [])];
    Object.assign(whole, part);
    if (Object.keys(properties).length > 0) Object.assign(whole, { properties, required });
  }
  return whole;
}

function objectOf(schema, word, root, depth) {
  const value = {};
  const required = new Set(schema.required ?? []);
  for (const [name, property] of Object.entries(schema.properties ?? {})) {
    if (depth < SHALLOW || required.has(name)) value[name] = exampleOf(property, word, root, depth + 1);
  }
  return value;
}

function listOf(schema, word, root, depth) {
  const fixed = (schema.prefixItems ?? []).map((item) => exampleOf(item, word, root, depth + 1));
  const least = Math.max(schema.minItems ?? 0, depth < SHALLOW && schema.maxItems !== 0 ? 1 : 0);
  const length = Math.min(least, LONGEST_LIST);
  while (fixed.length < length) fixed.push(exampleOf(schema.items ?? {}, word, root, depth + 1));
  return fixed;
}

function numberOf(schema, wanted) {
  const whole = Number.isInteger(wanted);
  const least = schema.minimum ?? (schema.exclusiveMinimum !== undefined ? schema.exclusiveMinimum + 1 : -Infinity);
  const most = schema.maximum ?? (schema.exclusiveMaximum !== undefined ? schema.exclusiveMaximum - 1 : Infinity);
  let value = Math.min(Math.max(wanted, least), most);
  if (whole) value = Math.ceil(value);
  if (schema.multipleOf > 0) value = Math.ceil(value / schema.multipleOf) * schema.multipleOf;
  return value;
}

function textOf(schema, word) {
  if (FORMATS[schema.format] !== undefined) return FORMATS[schema.format];
  const least = Math.min(schema.minLength ?? 0, LONGEST_TEXT);
  let text = word();
  while ([...text].length < least) text += ` ${word()}`;
  return [...text].slice(0, schema.maxLength ?? LONGEST_TEXT).join("");
}
