// What can be put under load. Each target starts itself on a port that the system picks and says how a
// request to it looks.
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { crates, here, portkey, root, thinWasm } from "./paths.mjs";
import { atEnd, runtime, serve, serveWorkerd } from "./processes.mjs";

const PATH = "/v1/chat/completions";
const UPSTREAM_KEY = "sk-mock-0123456789abcdef0123456789abcdef";
const bearer = (key) => ({ authorization: `Bearer ${key}` });
const plain = (model) => model;

export function startMock() {
  return serve("the mock", join(crates, "release/mockllm"), []);
}

async function floor(file, extra, path, mock) {
  const args = [...extra, `--external-addr=upstream=127.0.0.1:${mock.port}`, join(here, "floors", file)];
  const { pid, port, stop } = await serveWorkerd(file, args);
  return { pid, stop, url: `http://127.0.0.1:${port}${path}`, headers: bearer(UPSTREAM_KEY), model: plain };
}

function jsFloor(path) {
  return (mock, store) => {
    const objects = join(store, `floor${path.replace("/", "-")}`);
    mkdirSync(objects, { recursive: true });
    return floor("js.capnp", [`--directory-path=objects=${objects}`], path, mock);
  };
}

async function startPortkey(mock) {
  const { pid, port, stop } = await serveWorkerd("Portkey", [`--import-path=${portkey}`, join(here, "portkey/portkey.capnp")]);
  const headers = {
    ...bearer(UPSTREAM_KEY),
    "x-portkey-provider": "openai",
    "x-portkey-custom-host": `http://127.0.0.1:${mock.port}/v1`,
  };
  return { pid, stop, url: `http://127.0.0.1:${port}${PATH}`, headers, model: plain };
}

// Every part of the gateway works for each request, and none of them ever says no.
const TENANT = {
  limits: [{ id: "requests", scope: "tenant", requests: 1_000_000_000, window_s: 60 }],
  budgets: [{ id: "monthly", scope: "tenant", limit_usd: "1000000", period: "month" }],
  prices: { "mock/*": { input_usd_per_mtok: "0.50", output_usd_per_mtok: "1.50" } },
  cache: { enabled: false },
};

async function admin(gateway, token, method, path, body) {
  const response = await fetch(`${gateway.baseUrl}/admin/v1/tenants/bench${path}`, {
    method,
    headers: { ...bearer(token), "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} bench${path} answered ${response.status}: ${text.slice(0, 300)}`);
  return JSON.parse(text);
}

// The same secrets for every start, so that a restarted gateway knows the key of its store.
const secrets = { token: randomBytes(24).toString("hex"), pepper: randomBytes(32).toString("hex"), keys: new Map() };

async function startTollgate(mock, store) {
  const { startGateway } = await import("../../scripts/lib/local.mjs");
  const host = `127.0.0.1:${mock.port}`;
  const stateDir = join(store, "tollgate");
  const gateway = await startGateway({
    bundleDir: join(root, "build"),
    stateDir,
    port: 0,
    quiet: true,
    ...runtime,
    env: {
      TOLLGATE_ADMIN_TOKEN: secrets.token,
      TOLLGATE_KEY_PEPPER: secrets.pepper,
      TOLLGATE_LOG: "errors",
      TOLLGATE_PROVIDERS: JSON.stringify({ mock: { base_url: `http://${host}/v1`, api_key_env: "MOCK_API_KEY" } }),
      TOLLGATE_PLAIN_HTTP_HOSTS: host,
      MOCK_API_KEY: UPSTREAM_KEY,
    },
  });
  const stop = atEnd(() => gateway.stop());
  if (!secrets.keys.has(stateDir)) {
    await admin(gateway, secrets.token, "PUT", "", { config: TENANT });
    const { key } = await admin(gateway, secrets.token, "POST", "/keys", { name: "bench" });
    secrets.keys.set(stateDir, key);
  }
  const headers = bearer(secrets.keys.get(stateDir));
  return { pid: gateway.pid, stop, url: gateway.baseUrl + PATH, headers, model: (model) => `mock/${model}` };
}

function startDirect(mock) {
  const url = `http://127.0.0.1:${mock.port}${PATH}`;
  return { pid: mock.pid, stop: async () => {}, url, headers: bearer(UPSTREAM_KEY), model: plain };
}

/** By name: `start(mock, store)`, what must be prepared first, and whether it runs without being asked for. */
export const targets = {
  direct: { start: startDirect, usual: true },
  "js-pass": { start: jsFloor("/pass"), usual: true },
  "js-object": { start: jsFloor("/object") },
  "js-write": { start: jsFloor("/write") },
  "thin-floor": {
    needs: "thin",
    start: (mock) => floor("thin.capnp", [`--import-path=${thinWasm}`], "/", mock),
    usual: true,
  },
  tollgate: { needs: "gateway", start: startTollgate, usual: true },
  portkey: { needs: "peer", start: startPortkey, usual: true },
};

/** One request, and the answer must be the mock's. Also what a cold start waits for. */
export async function probe(name, { url, headers, model }) {
  const response = await fetch(url, {
    method: "POST",
    headers: { ...headers, "content-type": "application/json" },
    body: JSON.stringify({ model: model("mock"), messages: [{ role: "user", content: "hello" }] }),
  });
  const text = await response.text();
  const is = (answer) => answer.choices[0].message.content.startsWith("tok0 ") && answer.usage.total_tokens === 37;
  try {
    if (response.status === 200 && is(JSON.parse(text))) return;
  } catch {
    // Falls through to the error, which quotes the answer.
  }
  throw new Error(`${name} answered ${response.status}: ${text.slice(0, 300)}`);
}
