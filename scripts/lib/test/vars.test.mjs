import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { configuredVars, localSecrets, parseVars } from "../vars.mjs";

test("lines of NAME=value", () => {
  const text = `
# a comment
PLAIN=value
  export SPACED = padded value   # and a comment
HASH=a#b
SINGLE='{"json": "# kept"}'
DOUBLE="two\\nlines"
EMPTY=
COMMENTED= # nothing
not a line`;
  assert.deepEqual(parseVars(text), {
    PLAIN: "value",
    SPACED: "padded value",
    HASH: "a#b",
    SINGLE: '{"json": "# kept"}',
    DOUBLE: "two\nlines",
    EMPTY: "",
    COMMENTED: "",
  });
});

test("the environment wins over the file, and only known names are taken from it", (t) => {
  const dir = mkdtempSync(path.join(os.tmpdir(), "tollgate-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const file = path.join(dir, ".dev.vars");
  writeFileSync(file, "OPENAI_API_KEY=file\nGROQ_API_KEY=file\nXAI_API_KEY=\nMINE=yes\n");
  const environment = { OPENAI_API_KEY: "shell", PATH: "/bin", MISTRAL_API_KEY: "" };
  assert.deepEqual(configuredVars(file, environment), { OPENAI_API_KEY: "shell", GROQ_API_KEY: "file", MINE: "yes" });
  assert.deepEqual(configuredVars(path.join(dir, "absent"), {}), {});
});

test("secrets are made once and readable by their owner only", (t) => {
  const dir = mkdtempSync(path.join(os.tmpdir(), "tollgate-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const file = path.join(dir, "new/secrets.json");
  const secrets = localSecrets(file);
  assert.ok(secrets.TOLLGATE_ADMIN_TOKEN.length >= 32 && secrets.TOLLGATE_KEY_PEPPER.length >= 32);
  assert.match(secrets.TOLLGATE_SECRETS_KEY, /^[0-9a-f]{64}$/);
  assert.deepEqual(localSecrets(file), secrets);
  // A folder from before one of them keeps what it has.
  const { TOLLGATE_SECRETS_KEY: _, ...older } = secrets;
  writeFileSync(file, JSON.stringify(older));
  const grown = localSecrets(file);
  assert.deepEqual({ ...grown, TOLLGATE_SECRETS_KEY: "" }, { ...older, TOLLGATE_SECRETS_KEY: "" });
  assert.deepEqual(localSecrets(file), grown);
  assert.equal(statSync(file).mode & 0o777, 0o600);
});
