// Tenants of a test's own, made and deleted through the admin API.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after } from "node:test";
import { DIRECT, value } from "./environment.mjs";

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

/**
 * A key of a tenant that has no limits, for a file with many requests; the tenant goes when the file's tests are
 * done. Straight against the provider any key will do.
 */
export async function keyWithoutLimits() {
  if (DIRECT) return value("TOLLGATE_KEY");
  const id = `sdk-${randomUUID().slice(0, 8)}`;
  await admin("PUT", `/tenants/${id}`, { config: CONFIG });
  after(() => admin("DELETE", `/tenants/${id}`));
  return (await admin("POST", `/tenants/${id}/keys`, { name: "sdk" })).key;
}
