// Tenants of a test's own, made and deleted through the admin API.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { value } from "./environment.mjs";

const CONFIG = {
  models: { fast: { target: "simulated/sim-small" } },
  prices: { "simulated/*": { input_usd_per_mtok: "0.50", output_usd_per_mtok: "1.50" } },
};

async function admin(method, path, body) {
  const answer = await fetch(`${value("TOLLGATE_BASE_URL")}/admin/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${value("TOLLGATE_ADMIN_TOKEN")}`, "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  assert.ok(answer.ok, `${method} ${path} answered ${answer.status}: ${text}`);
  return text === "" ? {} : JSON.parse(text);
}

/** Runs `use` with a tenant of its own: `key(fields)` makes a key, `deleteKey(id)` deletes one. */
export async function withTenant(config, use) {
  const id = `sdk-${randomUUID().slice(0, 8)}`;
  await admin("PUT", `/tenants/${id}`, { config: { ...CONFIG, ...config } });
  try {
    return await use({
      id,
      key: (fields = {}) => admin("POST", `/tenants/${id}/keys`, { name: "sdk", ...fields }),
      deleteKey: (key) => admin("DELETE", `/tenants/${id}/keys/${key}`),
    });
  } finally {
    await admin("DELETE", `/tenants/${id}`);
  }
}
