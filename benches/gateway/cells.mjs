// One cell: one target under one shape of load for some seconds.
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { crates, here } from "./paths.mjs";
import { cpuSeconds, run } from "./processes.mjs";

// First token after 20 ms, then one every 5 ms; and as fast as it goes.
const PACED = { model: "mock-t20-i5-n32", tokens: 32 };
const FULL = { model: "mock-n64", tokens: 64 };

/** The shapes of load, in the order of the table's columns. */
export const shapes = {
  load: { conns: 16 },
  single: { conns: 1 },
  first: { conns: 1, stream: PACED },
  paced: { conns: 16, stream: PACED },
  full: { conns: 16, stream: FULL },
};

/** Work that a gateway does after its answer (settlement, say) belongs to the cell. */
const AFTER_MS = 100;
const micro = (seconds, count) => (count > 0 ? (1e6 * seconds) / count : null);

async function upstreamRequests(mock) {
  const response = await fetch(`http://127.0.0.1:${mock.port}/stats`);
  return (await response.json()).requests;
}

async function wrk(target, conns, secs) {
  const args = ["-t1", `-c${conns}`, `-d${secs}s`, "--timeout", "10s", "-s", join(here, "chat.lua")];
  for (const [name, value] of Object.entries(target.headers)) args.push("-H", `${name}: ${value}`);
  const env = { ...process.env, BENCH_MODEL: target.model("mock") };
  const text = await run("wrk", [...args, target.url], { env });
  const r = JSON.parse(text.split("\n").find((line) => line.startsWith("{")));
  const problems = [];
  if (r.requests === 0) problems.push("no answers");
  if (r.bad_status) problems.push(`${r.bad_status} of ${r.requests} answers were not 2xx`);
  for (const what of ["connect", "read", "write", "timeout"]) if (r[what]) problems.push(`${r[what]} ${what} errors`);
  return { ...r, count: r.requests, per_second: r.requests / r.seconds, problems };
}

async function ssebench(target, conns, secs, { model, tokens }) {
  const args = ["--url", target.url, "--model", target.model(model), "--conc", `${conns}`, "--secs", `${secs}`];
  for (const [name, value] of Object.entries(target.headers)) args.push("--header", `${name}: ${value}`);
  const r = JSON.parse(await run(join(crates, "release/ssebench"), args));
  const problems = [];
  if (r.streams === 0) problems.push("no streams");
  if (r.errors) problems.push(`${r.errors} streams failed (${r.last_error})`);
  if (r.no_done) problems.push(`${r.no_done} of ${r.streams} streams had no [DONE]`);
  if (r.no_usage) problems.push(`${r.no_usage} of ${r.streams} streams had no usage`);
  const lost = r.streams * tokens - r.tokens;
  if (lost) problems.push(`${lost} of ${r.streams * tokens} tokens were lost`);
  return { ...r, count: r.streams, problems };
}

/** An answer that the upstream did not give is a cached one; one given twice hides a retry. */
function comparedWithUpstream({ count }, upstream, conns) {
  if (upstream < count) return [`${count} answers, but only ${upstream} requests reached the upstream`];
  if (upstream > count * 1.01 + conns) return [`${count} answers took ${upstream} requests to the upstream`];
  return [];
}

async function observed(target, { conns, stream }, secs, mock) {
  const [cpuBefore, sentBefore] = [cpuSeconds(target.pid), await upstreamRequests(mock)];
  const row = stream ? await ssebench(target, conns, secs, stream) : await wrk(target, conns, secs);
  await sleep(AFTER_MS);
  const used = cpuSeconds(target.pid) - cpuBefore;
  row.upstream_requests = (await upstreamRequests(mock)) - sentBefore;
  if (row.problems.length === 0) row.problems.push(...comparedWithUpstream(row, row.upstream_requests, conns));
  row.cpu_us = micro(used, row.count);
  if (stream) row.cpu_us_per_event = micro(used, row.events);
  return row;
}

export async function measure(name, target, shape, secs, mock) {
  try {
    return await observed(target, shapes[shape], secs, mock);
  } catch (error) {
    throw new Error(`${name}, ${shape}: ${error.message}`);
  }
}
