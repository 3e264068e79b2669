// A small worker with the gateway's exports, for testing how it is run.
import { DurableObject } from "cloudflare:workers";
import wasm from "./index.wasm";

export class TenantObject extends DurableObject {
  note(name, value) {
    this.ctx.storage.kv.put(name, value);
  }
  noted(name) {
    return this.ctx.storage.kv.get(name) ?? null;
  }
  count() {
    this.ctx.storage.kv.put("count", (this.ctx.storage.kv.get("count") ?? 0) + 1);
    return this.ctx.storage.kv.get("count");
  }
}

export class DirectoryObject extends DurableObject {}

const routes = {
  "/healthz": () => ({ wasm: wasm instanceof WebAssembly.Module }),
  "/variables": (_, env) => Object.fromEntries(Object.entries(env).filter(([, value]) => typeof value === "string")),
  "/count": (_, env) => env.TENANTS.getByName("a").count(),
  "/noted": (url, env) => env.TENANTS.getByName("a").noted(url.searchParams.get("name")),
  "/print": () => {
    console.log("to stdout");
    console.error("to stderr");
    return null;
  },
  "/fetch": async (url) => (await fetch(url.searchParams.get("url"))).status,
};

/** Calls a method of the KV binding: its name and arguments are the body. */
async function callKv(kv, [method, ...argv]) {
  try {
    const result = await kv[method](...argv);
    return { result: result instanceof Map ? [...result] : (result ?? null) };
  } catch (error) {
    return { error: error.message };
  }
}

/** A stream without an end, which notes when its reader goes away. */
function endless(request, env, ctx) {
  const encoder = new TextEncoder();
  request.signal.addEventListener("abort", () => ctx.waitUntil(env.TENANTS.getByName("a").note("gone", true)));
  const body = new ReadableStream({
    async pull(controller) {
      await scheduler.wait(20);
      controller.enqueue(encoder.encode("."));
    },
  });
  return new Response(body);
}

export default {
  async fetch(request, env, ctx) {
    const url = new URL(request.url);
    if (url.pathname === "/stream") return endless(request, env, ctx);
    if (url.pathname === "/kv") return Response.json(await callKv(env.CACHE, await request.json()));
    if (url.pathname === "/big") {
      const size = Number(url.searchParams.get("size"));
      await env.CACHE.put("big", new Uint8Array(size).fill(7));
      const back = new Uint8Array(await env.CACHE.get("big", "arrayBuffer"));
      return Response.json(back.length === size && back.every((byte) => byte === 7));
    }
    return Response.json(await routes[url.pathname](url, env));
  },
  async scheduled(controller, env) {
    if (controller.cron === "fail") throw new Error("failed on purpose");
    await env.TENANTS.getByName("a").note("fired", [controller.cron, controller.scheduledTime]);
  },
};
