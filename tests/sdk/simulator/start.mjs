// Starts the simulated provider for a test and talks to it without any SDK.

import { spawn } from "node:child_process";
import http from "node:http";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const SCRIPT = fileURLToPath(new URL("../../../scripts/simulator.mjs", import.meta.url));

/** Starts it on a port that the system picks; it also ends when this process does. */
export async function startSimulator(...args) {
  const stdio = ["pipe", "pipe", "inherit"];
  const child = spawn(process.execPath, [SCRIPT, "--exit-with-parent", ...args], { stdio });
  const line = await new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).once("line", resolve);
    child.once("exit", (code) => reject(new Error(`the simulator exited with ${code}`)));
  });
  const ready = JSON.parse(line);
  const url = `http://127.0.0.1:${ready.port}`;
  const exited = new Promise((resolve) => child.once("exit", (code, signal) => resolve({ code, signal })));
  const get = async (path, query = {}) => (await fetch(`${url}${path}?${new URLSearchParams(query)}`)).json();
  return {
    ...ready, url, child, exited,
    stop: () => {
      child.kill("SIGTERM");
      return exited;
    },
    stats: () => get("/stats"),
    journal: async (query) => (await get("/journal", query)).requests,
    /** The newest journal entry of a model, once it has ended. */
    ended: async (model) => {
      for (let tries = 0; tries < 200; tries += 1) {
        const [entry] = (await get("/journal", { model, limit: 1 })).requests;
        if (entry?.ended_at_ms) return entry;
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      throw new Error(`no request for ${model} ended`);
    },
  };
}

/**
 * One exchange over node:http. `chunks` are the pieces as they came with their times; `error` is the code of
 * the connection's failure, if it failed. With `giveUpAfterMs` the client goes away then.
 */
export function exchange(url, body, options = {}) {
  const { method = "POST", path = "/v1/chat/completions", key = "any", giveUpAfterMs } = options;
  return new Promise((resolve) => {
    const begun = Date.now();
    const seen = { status: null, headers: {}, chunks: [], text: "", error: null, ms: 0 };
    const done = (error) => {
      seen.error ??= error?.code ?? null;
      seen.text = Buffer.concat(seen.chunks.map(({ bytes }) => bytes)).toString();
      seen.ms = Date.now() - begun;
      resolve(seen);
    };
    const headers = { "content-type": "application/json" };
    if (key !== null) headers.authorization = `Bearer ${key}`;
    const request = http.request(`${url}${path}`, { method, headers, agent: false }, (response) => {
      seen.status = response.statusCode;
      seen.headers = response.headers;
      response.on("data", (bytes) => seen.chunks.push({ at: Date.now(), bytes }));
      response.on("error", done);
      response.on("end", () => done());
    });
    request.on("error", done);
    const giveUp = () => request.destroy(Object.assign(new Error("given up"), { code: "GAVE_UP" }));
    if (giveUpAfterMs !== undefined) setTimeout(giveUp, giveUpAfterMs);
    request.end(body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body));
  });
}

/** The data of a stream's events, `[DONE]` left as it is. */
export function eventsOf(text) {
  return text.split("\n\n").filter(Boolean).map((event) => event.replace(/^data: /, ""))
    .map((data) => (data === "[DONE]" ? data : JSON.parse(data)));
}
