// Where the local gateway's variables and secrets come from.
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

/** Taken from the environment. A short list, so that no unrelated secret of the shell reaches the worker. */
const FROM_ENVIRONMENT = [
  "TOLLGATE_ADMIN_TOKEN",
  "TOLLGATE_KEY_PEPPER",
  "TOLLGATE_SECRETS_KEY",
  "TOLLGATE_SECRETS_KEY_PREVIOUS",
  "TOLLGATE_LOG",
  "TOLLGATE_HEARTBEAT_MS",
  "TOLLGATE_PROVIDERS",
  "TOLLGATE_PLAIN_HTTP_HOSTS",
  "OPENAI_API_KEY",
  "ANTHROPIC_API_KEY",
  "GEMINI_API_KEY",
  "GROQ_API_KEY",
  "MISTRAL_API_KEY",
  "DEEPSEEK_API_KEY",
  "XAI_API_KEY",
  "OPENROUTER_API_KEY",
  "TOGETHER_API_KEY",
  "FIREWORKS_API_KEY",
  "PERPLEXITY_API_KEY",
  "CEREBRAS_API_KEY",
  "AZURE_OPENAI_API_KEY",
  "GOOGLE_SERVICE_ACCOUNT_JSON",
];

/** The operator token, the pepper and the key of secrets of this folder: made once, kept for its owner's eyes only. */
export function localSecrets(file) {
  const kept = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : {};
  const made = {
    TOLLGATE_ADMIN_TOKEN: randomBytes(24).toString("base64url"),
    TOLLGATE_KEY_PEPPER: randomBytes(32).toString("base64url"),
    TOLLGATE_SECRETS_KEY: randomBytes(32).toString("hex"),
  };
  // A folder that is older than one of them gets it now.
  if (Object.keys(made).every((name) => name in kept)) return kept;
  const secrets = { ...made, ...kept };
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(secrets, null, 2)}\n`, { mode: 0o600 });
  return secrets;
}

/** What .dev.vars and the environment say; the environment wins. Empty values count as unset. */
export function configuredVars(devVarsFile, environment = process.env) {
  const fromFile = existsSync(devVarsFile) ? parseVars(readFileSync(devVarsFile, "utf8")) : {};
  const fromEnvironment = FROM_ENVIRONMENT.map((name) => [name, environment[name]]);
  const entries = [...Object.entries(fromFile), ...fromEnvironment].filter(([, value]) => value);
  return Object.fromEntries(entries);
}

/** Lines of NAME=value, with optional quotes, `export` and # comments. */
export function parseVars(text) {
  const vars = {};
  for (const line of text.split(/\r?\n/)) {
    const match = /^\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*?)\s*$/.exec(line);
    if (!match) continue;
    const [, name, raw] = match;
    const quoted = /^(["'])(.*)\1(?:\s+#.*)?$/.exec(raw);
    vars[name] = quoted ? unescaped(quoted[2], quoted[1]) : raw.replace(/(^|\s+)#.*$/, "");
  }
  return vars;
}

const unescaped = (value, quote) => (quote === '"' ? value.replaceAll("\\n", "\n").replaceAll('\\"', '"') : value);
