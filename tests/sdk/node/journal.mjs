// What the simulated provider was asked, and when it sent what.

import assert from "node:assert/strict";
import { value, wait } from "./environment.mjs";

export async function requestsWith(text) {
  const answer = await fetch(`${value("SIMULATOR_URL")}/journal?${new URLSearchParams({ contains: text })}`);
  return (await answer.json()).requests;
}

/** The only request with this text, once it has ended. */
export async function ended(text, withinMs = 5_000) {
  const until = Date.now() + withinMs;
  for (;;) {
    const found = await requestsWith(text);
    assert.ok(found.length <= 1, `${found.length} requests reached the provider, not one`);
    if (found[0]?.ended_at_ms) return found[0];
    assert.ok(Date.now() < until, `the request did not end at the provider: ${JSON.stringify(found)}`);
    await wait(20);
  }
}
