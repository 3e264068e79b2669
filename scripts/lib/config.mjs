// The workerd configuration of a local gateway, as Cap'n Proto text.
// Relative paths of embedded files start at the configuration file.
import { readFileSync } from "node:fs";

/** The same date as in production: wrangler.toml has it. */
const COMPATIBILITY_DATE = /^compatibility_date = "([\d-]+)"$/m.exec(
  readFileSync(new URL("../../wrangler.toml", import.meta.url), "utf8"),
)[1];

/** A Cap'n Proto text literal; JSON's escapes are a subset of what it reads. */
const text = (value) => JSON.stringify(value).replace(/[\u007f-\uffff]/g, utf8Escape);

function utf8Escape(char) {
  return [...Buffer.from(char, "utf8")].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
}

const list = (items) => `[\n${items.map((item) => `    ${item},\n`).join("")}  ]`;

/**
 * @param {object} options
 * @param {string} options.host         address that both sockets bind
 * @param {number} options.port         port of the gateway; 0 lets the system pick
 * @param {string} options.doDir        absolute folder of the objects' databases
 * @param {string[]} options.variables  names that the gateway reads from workerd's environment
 * @param {string} [options.kvAddress]  host:port of a KV server to use in place of the built-in one
 * @param {number} options.kvMinTtlS    smallest TTL that the built-in KV accepts
 * @param {string} [options.aiAddress]  host:port of a server that answers for Workers AI; without it there is no binding AI
 * @param {string[]} [options.v8Flags]
 * @param {string} [options.cfHeader]   request header whose value (JSON) the worker sees as `request.cf`, as from Cloudflare
 */
export function gatewayConfig({ host, port, doDir, variables, kvAddress, kvMinTtlS, aiAddress, cfHeader, v8Flags = [] }) {
  // Values come from the environment and not from this file, so no secret is written to disk.
  const variableBindings = variables.map((name) => `(name = ${text(name)}, fromEnvironment = ${text(name)})`);
  const kvService = kvAddress
    ? `(name = "kv", external = (address = ${text(kvAddress)}, http = ()))`
    : `(name = "kv", worker = .kv)`;
  return `using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  v8Flags = ${list(v8Flags.map(text))},
  services = ${list([
    `(name = "gateway", worker = .gateway)`,
    kvService,
    `(name = "control", worker = .control)`,
    ...(aiAddress ? [`(name = "ai", external = (address = ${text(aiAddress)}, http = ()))`] : []),
    `(name = "objects", disk = (path = ${text(doDir)}, writable = true))`,
    // A provider may be a server on this machine or in the local network.
    `(name = "internet", network = (allow = ["public", "private"], tlsOptions = (trustBrowserCas = true)))`,
  ])},
  sockets = ${list([
    `(name = "http", address = ${text(`${host}:${port}`)}, http = ${cfHeader ? `(cfBlobHeader = ${text(cfHeader)})` : "()"}, service = "gateway")`,
    `(name = "control", address = ${text(`${host}:0`)}, http = (), service = "control")`,
  ])},
);

const gateway :Workerd.Worker = (
  modules = ${list([
    `(name = "index.js", esModule = embed "bundle/index.js")`,
    `(name = "index.wasm", wasm = embed "bundle/index.wasm")`,
  ])},
  compatibilityDate = "${COMPATIBILITY_DATE}",
  bindings = ${list([
    `(name = "TENANTS", durableObjectNamespace = "TenantObject")`,
    `(name = "DIRECTORY", durableObjectNamespace = "DirectoryObject")`,
    `(name = "CACHE", kvNamespace = "kv")`,
    // The class that Cloudflare wraps around Workers AI is part of workerd; here it asks the server given.
    ...(aiAddress
      ? [`(name = "AI", wrapped = (moduleName = "cloudflare-internal:ai-api", innerBindings = [(name = "fetcher", service = "ai")]))`]
      : []),
    ...variableBindings,
  ])},
  durableObjectNamespaces = ${list([
    `(className = "TenantObject", uniqueKey = "tollgate-TenantObject", enableSql = true)`,
    `(className = "DirectoryObject", uniqueKey = "tollgate-DirectoryObject", enableSql = true)`,
  ])},
  durableObjectStorage = (localDisk = "objects"),
);

const kv :Workerd.Worker = (
  modules = [ (name = "kv.mjs", esModule = embed "bundle/kv.mjs") ],
  compatibilityDate = "${COMPATIBILITY_DATE}",
  bindings = ${list([
    `(name = "KV", durableObjectNamespace = "KvObject")`,
    `(name = "MIN_TTL_S", text = "${kvMinTtlS}")`,
  ])},
  durableObjectNamespaces = [ (className = "KvObject", uniqueKey = "tollgate-KvObject", enableSql = true) ],
  durableObjectStorage = (localDisk = "objects"),
);

const control :Workerd.Worker = (
  modules = [ (name = "control.mjs", esModule = embed "bundle/control.mjs") ],
  compatibilityDate = "${COMPATIBILITY_DATE}",
  # Gives a service binding the method scheduled().
  compatibilityFlags = ["service_binding_extra_handlers"],
  bindings = [ (name = "MAIN", service = "gateway") ],
);
`;
}
