// A KV namespace for workerd on one machine. workerd turns each call on a KV
// binding into an HTTP request: GET, PUT and DELETE /<key>?urlencoded=true,
// GET /?prefix=&cursor=&key_count_limit= for a list, POST /bulk/get for many
// keys. The entries stand in one SQLite-backed object, so they outlive the
// process. Limits are those of Workers KV.
import { DurableObject } from "cloudflare:workers";

const MAX_KEY_BYTES = 512;
const MAX_METADATA_BYTES = 1024;
const MAX_VALUE_BYTES = 25 * 1024 * 1024;
const MAX_LIST = 1000;
const MAX_BULK = 100;
// SQLite refuses larger blobs, so a value is cut into pieces of this size.
const PIECE_BYTES = 1024 * 1024;
// Removal may lag: reads filter expired entries anyway.
const MIN_ALARM_DELAY_MS = 1000;

class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const bytes = (text) => new TextEncoder().encode(text).byteLength;

function checkedKey(key) {
  if (key === "" || key === "." || key === "..") throw new Refusal(400, "Invalid key name.");
  if (bytes(key) > MAX_KEY_BYTES) throw new Refusal(414, `A key has at most ${MAX_KEY_BYTES} bytes.`);
  return key;
}

/** When the entry expires in ms, or null. Both parameters are in seconds. */
function expiry(params, now, minTtlS) {
  const ttl = params.get("expiration_ttl");
  const at = params.get("expiration");
  if (ttl === null && at === null) return null;
  const ahead = ttl === null ? Number(at) - Math.floor(now / 1000) : Number(ttl);
  if (!Number.isInteger(ahead)) throw new Refusal(400, "Invalid expiration.");
  if (ahead < minTtlS) throw new Refusal(400, `Expiration must be at least ${minTtlS} s ahead.`);
  return ttl === null ? Number(at) * 1000 : now + ahead * 1000;
}

export class KvObject extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.sql = ctx.storage.sql;
    this.minTtlS = Number(env.MIN_TTL_S);
    this.sql.exec(`CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, expires_at INTEGER, metadata TEXT);
      CREATE INDEX IF NOT EXISTS entries_expires_at ON entries (expires_at) WHERE expires_at IS NOT NULL;
      CREATE TABLE IF NOT EXISTS pieces (key TEXT, n INTEGER, bytes BLOB, PRIMARY KEY (key, n)) WITHOUT ROWID;`);
  }

  async fetch(request) {
    try {
      return await this.answer(request);
    } catch (error) {
      if (error instanceof Refusal) return new Response(error.message, { status: error.status });
      throw error;
    }
  }

  async answer(request) {
    const url = new URL(request.url);
    const path = url.pathname.slice(1);
    if (request.method === "POST" && path === "bulk/get") return this.bulk(await request.json());
    if (request.method === "GET" && path === "") return this.list(url.searchParams);
    const key = checkedKey(decodeURIComponent(path));
    switch (request.method) {
      case "GET":
        return this.get(key);
      case "PUT":
        return this.put(key, request, url.searchParams);
      case "DELETE":
        this.remove(key);
        return new Response(null, { status: 204 });
      default:
        throw new Refusal(405, "Method not allowed.");
    }
  }

  /** The live entry with its value, or null. */
  read(key) {
    const [entry] = this.sql.exec("SELECT expires_at, metadata FROM entries WHERE key = ?", key).toArray();
    if (!entry || (entry.expires_at !== null && entry.expires_at <= Date.now())) return null;
    const pieces = this.sql.exec("SELECT bytes FROM pieces WHERE key = ? ORDER BY n", key).toArray();
    return { metadata: entry.metadata, value: new Blob(pieces.map((piece) => piece.bytes)) };
  }

  get(key) {
    const entry = this.read(key);
    if (entry === null) return new Response(null, { status: 404 });
    const headers = entry.metadata === null ? {} : { "CF-KV-Metadata": entry.metadata };
    return new Response(entry.value.stream(), { headers });
  }

  async put(key, request, params) {
    const value = await request.arrayBuffer();
    const metadata = request.headers.get("CF-KV-Metadata");
    if (value.byteLength > MAX_VALUE_BYTES) throw new Refusal(413, "The value is too large.");
    if (metadata !== null && bytes(metadata) > MAX_METADATA_BYTES) throw new Refusal(413, "The metadata is too large.");
    const expiresAt = expiry(params, Date.now(), this.minTtlS);
    this.remove(key);
    this.sql.exec("INSERT INTO entries (key, expires_at, metadata) VALUES (?, ?, ?)", key, expiresAt, metadata);
    for (let n = 0; n * PIECE_BYTES < value.byteLength; n++) {
      const piece = value.slice(n * PIECE_BYTES, (n + 1) * PIECE_BYTES);
      this.sql.exec("INSERT INTO pieces (key, n, bytes) VALUES (?, ?, ?)", key, n, piece);
    }
    if (expiresAt !== null) await this.wakeAt(expiresAt);
    return new Response(null);
  }

  remove(key) {
    this.sql.exec("DELETE FROM pieces WHERE key = ?", key);
    this.sql.exec("DELETE FROM entries WHERE key = ?", key);
  }

  list(params) {
    const limit = Math.min(Number(params.get("key_count_limit") ?? MAX_LIST), MAX_LIST);
    if (!Number.isInteger(limit) || limit < 1) throw new Refusal(400, "Invalid key_count_limit.");
    const prefix = params.get("prefix") ?? "";
    const after = params.get("cursor") ? decodeURIComponent(atob(params.get("cursor"))) : "";
    // substr, not LIKE: a key may hold % and _.
    const rows = this.sql
      .exec(
        `SELECT key, expires_at, metadata FROM entries
         WHERE key > ? AND key >= ? AND substr(key, 1, length(?)) = ? AND (expires_at IS NULL OR expires_at > ?)
         ORDER BY key LIMIT ?`,
        after, prefix, prefix, prefix, Date.now(), limit + 1,
      )
      .toArray();
    const keys = rows.slice(0, limit).map((row) => ({
      name: row.key,
      ...(row.expires_at !== null && { expiration: Math.floor(row.expires_at / 1000) }),
      ...(row.metadata !== null && { metadata: row.metadata }),
    }));
    const complete = rows.length <= limit;
    // btoa takes Latin-1 only, hence the percent-encoding inside.
    const cursor = complete ? {} : { cursor: btoa(encodeURIComponent(keys.at(-1).name)) };
    return Response.json({ keys, list_complete: complete, ...cursor });
  }

  async bulk({ keys, type, withMetadata }) {
    if (!Array.isArray(keys) || keys.length < 1 || keys.length > MAX_BULK) throw new Refusal(400, "1 to 100 keys.");
    const found = {};
    for (const key of keys) {
      const entry = this.read(checkedKey(String(key)));
      if (entry === null) {
        found[key] = null;
        continue;
      }
      const text = await entry.value.text();
      const value = type === "json" ? JSON.parse(text) : text;
      found[key] = withMetadata ? { value, metadata: entry.metadata && JSON.parse(entry.metadata) } : value;
    }
    return Response.json(found);
  }

  async wakeAt(time) {
    const due = Math.max(time, Date.now() + MIN_ALARM_DELAY_MS);
    const set = await this.ctx.storage.getAlarm();
    if (set === null || set > due) await this.ctx.storage.setAlarm(due);
  }

  async alarm() {
    const now = Date.now();
    this.sql.exec("DELETE FROM pieces WHERE key IN (SELECT key FROM entries WHERE expires_at <= ?)", now);
    this.sql.exec("DELETE FROM entries WHERE expires_at <= ?", now);
    const [next] = this.sql.exec("SELECT min(expires_at) AS at FROM entries").toArray();
    if (next.at !== null) await this.wakeAt(next.at);
  }
}

export default {
  fetch: (request, env) => env.KV.getByName("kv").fetch(request),
};
