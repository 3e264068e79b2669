// Workers AI by its binding: the class that Cloudflare wraps around it is workerd's own, what it asks is the
// simulated provider. No address and no key are configured.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { call, events, until } from "./call.mjs";
import { ONCE, PRICE, nano, openSite } from "./site.mjs";

/** Cloudflare's models have names of several parts; the simulator reads its orders from the last one. */
const NATIVE = "workers-ai/@cf/sim/native";
const OPENAI = "workers-ai/@cf/openai/sim";
const PRICES = { input_usd_per_mtok: "0.50", output_usd_per_mtok: "1.50" };
const parameters = { type: "object", properties: { city: { type: "string" }, days: { type: "integer" } }, required: ["city", "days"] };
const tools = [{ type: "function", function: { name: "weather", parameters } }];

let site;
let tenant;

before(async () => {
  site = await openSite({ env: { TOLLGATE_LOG: undefined } });
  await site.gateway.stop();
  site.options.aiAddress = new URL(site.simulator.url).host;
  await site.start();
  tenant = await site.tenant("ai", { prices: { "workers-ai/*": PRICES }, retry: ONCE });
});

after(async () => {
  if (!site) return;
  try {
    for (const line of site.log) assert.doesNotMatch(line, /panick|RuntimeError|object_failed|Uncaught|unreachable/);
  } finally {
    await site.close();
  }
});

const PATHS = { chat: "/v1/chat/completions", messages: "/v1/messages", responses: "/v1/responses", embeddings: "/v1/embeddings" };

async function ask(path, body, options = {}) {
  const headers = { authorization: `Bearer ${tenant.key}`, "content-type": "application/json", ...options.headers };
  return call(site.url + PATHS[path], { ...options, method: "POST", headers, body });
}

const hello = (model, more) => ({ model, messages: [{ role: "user", content: "Hello" }], max_tokens: 50, ...more });
const modelOf = (name) => name.slice("workers-ai/".length);

/** What the binding was asked last for a model. */
async function asked(name) {
  const [entry] = await site.journal({ model: modelOf(name), limit: 1 });
  return entry;
}

/** Tokens, tools and why it ended, of a chat completion's chunks. */
function collected(all) {
  const out = { content: "", calls: [], finish: null, usage: null };
  for (const { choices, usage } of all.filter((event) => event !== "[DONE]")) {
    out.usage = usage ?? out.usage;
    const [choice] = choices;
    if (!choice) continue;
    out.content += choice.delta.content ?? "";
    for (const call of choice.delta.tool_calls ?? []) {
      out.calls[call.index] ??= { name: call.function.name, id: call.id, arguments: "" };
      out.calls[call.index].arguments += call.function.arguments ?? "";
    }
    out.finish = choice.finish_reason ?? out.finish;
  }
  return out;
}

for (const model of [NATIVE, OPENAI]) {
  describe(model, () => {
    test("an answer, and what it costs", async () => {
      const answer = await ask("chat", hello(`${model}-n8`));
      assert.equal(answer.status, 200, answer.text);
      const { choices, usage } = JSON.parse(answer.text);
      assert.equal(choices[0].message.content.split(" ").length, 8);
      assert.deepEqual([choices[0].finish_reason, usage.completion_tokens], ["stop", 8]);
      const cost = usage.prompt_tokens * PRICE.input + 8 * PRICE.output;
      assert.equal(nano(answer.headers["x-tollgate-cost-usd"]), cost);
      assert.deepEqual([answer.headers["x-tollgate-provider"], answer.headers["x-tollgate-attempts"]], ["workers-ai", "1"]);
    });

    test("the binding gets the inputs, and no key", async () => {
      await ask("chat", hello(`${model}-n1-seen`, { temperature: 0.5, user: "u" }));
      const { path, headers, body } = await asked(`${model}-n1-seen`);
      assert.equal(path, "/run");
      assert.deepEqual(body, {
        inputs: { messages: [{ role: "user", content: "Hello" }], temperature: 0.5, max_tokens: 50 },
        options: { returnRawResponse: true },
      });
      assert.doesNotMatch(JSON.stringify(headers), /authorization|x-tollgate|tg_/i);
    });

    test("a stream says the same as the whole, token by token, and is charged", async () => {
      const whole = JSON.parse((await ask("chat", hello(`${model}-n8-t1-i1`))).text);
      const own = await site.tenant(`stream-${model === NATIVE ? "a" : "b"}`, { prices: { "workers-ai/*": PRICES } });
      const body = hello(`${model}-n8-t1-i1`, { stream: true, stream_options: { include_usage: true } });
      const all = events((await own.chat(body)).text);
      const { content, finish, usage } = collected(all);
      assert.deepEqual([content, finish, all.at(-1)], [whole.choices[0].message.content, "stop", "[DONE]"]);
      assert.ok(all.length >= 10, `${all.length} events`);
      assert.deepEqual([usage.prompt_tokens, usage.completion_tokens], [whole.usage.prompt_tokens, 8]);
      const spent = await until("it is settled", async () => nano((await own.settled()).spent_usd));
      assert.equal(spent, usage.prompt_tokens * PRICE.input + 8 * PRICE.output);
    });

    test("tools called together, and answered", async () => {
      const question = hello(`${model}-p2-i0`, { tools, max_tokens: undefined });
      const [{ message, finish_reason: finish }] = JSON.parse((await ask("chat", question)).text).choices;
      assert.equal(finish, "tool_calls");
      const streamed = collected(events((await ask("chat", { ...question, stream: true })).text));
      for (const calls of [message.tool_calls.map((call) => call.function), streamed.calls]) {
        assert.deepEqual(calls.map(({ name }) => name), ["weather", "weather"]);
        for (const call of calls) assert.deepEqual(Object.keys(JSON.parse(call.arguments)), ["city", "days"]);
      }
      assert.deepEqual([streamed.finish, new Set(streamed.calls.map(({ id }) => id)).size], ["tool_calls", 2]);
      const results = message.tool_calls.map(({ id }) => ({ role: "tool", tool_call_id: id, content: "sunny" }));
      const next = await ask("chat", { ...question, messages: [...question.messages, message, ...results] });
      assert.equal(next.status, 200, next.text);
      assert.equal(JSON.parse(next.text).choices[0].finish_reason, "stop");
    });

    test("structured output: the schema goes without its frame", async () => {
      const json_schema = { name: "forecast", schema: parameters };
      const answer = await ask("chat", hello(`${model}-json`, { response_format: { type: "json_schema", json_schema } }));
      assert.deepEqual(Object.keys(JSON.parse(JSON.parse(answer.text).choices[0].message.content)), ["city", "days"]);
      assert.deepEqual((await asked(`${model}-json`)).body.inputs.response_format, { type: "json_schema", json_schema: parameters });
    });

    test("the other formats of clients", async () => {
      const message = await ask("messages", hello(`${model}-n4`));
      const { content, stop_reason, usage } = JSON.parse(message.text);
      assert.deepEqual([content[0].text.split(" ").length, stop_reason, usage.output_tokens], [4, "end_turn", 4]);
      const streamed = await ask("messages", hello(`${model}-p2-i0`, {
        stream: true, max_tokens: 500, tools: [{ name: "weather", input_schema: parameters }],
      }));
      const started = events(streamed.text.replace(/^event: .*\n/gm, "")).filter(({ type }) => type === "content_block_start");
      assert.deepEqual(started.map(({ content_block }) => content_block.name), ["weather", "weather"]);
      const response = await ask("responses", { model: `${model}-n4`, input: "Hello" });
      assert.equal(JSON.parse(response.text).output[0].content[0].text.split(" ").length, 4);
    });
  });
}

test("embeddings", async () => {
  const answer = await ask("embeddings", { model: "workers-ai/@cf/baai/bge-m3", input: ["a", "b"] });
  const { data, model } = JSON.parse(answer.text);
  assert.deepEqual([data.length, data[0].embedding.length, model], [2, 64, "@cf/baai/bge-m3"]);
});

describe("what goes wrong", { concurrency: true }, () => {
  const told = (answer, why) => {
    const { error } = JSON.parse(answer.text);
    assert.deepEqual([answer.status, error.code, error.attempts], [502, "upstream_error", [`workers-ai: ${why}`]], answer.text);
  };

  test("its own complaint is told", async () => {
    const answer = await ask("chat", hello(`${NATIVE}-e400`));
    const { error } = JSON.parse(answer.text);
    assert.deepEqual([answer.status, error.code, error.type], [400, "3043", "invalid_request_error"], answer.text);
  });

  test("no capacity, before and in the stream", async () => {
    told(await ask("chat", hello(`${NATIVE}-e429`)), "status 429");
    const early = await ask("chat", hello(`${NATIVE}-o0`, { stream: true }));
    assert.equal(early.status, 502, early.text);
    const late = events((await ask("chat", hello(`${NATIVE}-o3`, { stream: true }))).text);
    assert.match(late.at(-1).error.message, /Capacity temporarily exceeded/);
  });

  test("broken answers", async () => {
    told(await ask("chat", hello(`${NATIVE}-badjson`)), "not an answer of the Workers AI format");
    told(await ask("chat", hello(`${NATIVE}-reset`)), "connection failed");
    told(await ask("chat", hello(`${NATIVE}-bomb`)), "answer too large");
  });

  test("a stream that breaks off is told to the client", async () => {
    for (const fault of ["x3", "half"]) {
      const all = events((await ask("chat", hello(`${NATIVE}-${fault}`, { stream: true }))).text);
      assert.equal(all.at(-1).error.code, "upstream_error", fault);
    }
  });

  test("too slow", async () => {
    const answer = await ask("chat", hello(`${NATIVE}-hang`), { headers: { "x-tollgate-timeout-ms": "300" } });
    assert.equal(answer.status, 504, answer.text);
    assert.equal((await site.ended(modelOf(`${NATIVE}-hang`))).ended, "client_gone");
  });

  test("a client that leaves stops the model", async () => {
    const model = `${NATIVE}-i40-n300`;
    const answer = await ask("chat", hello(model, { stream: true, max_tokens: 400 }), { leaveWhen: ({ pieces }) => pieces.length >= 3 });
    assert.equal(answer.error, "LEFT");
    const entry = await site.ended(modelOf(model));
    assert.equal(entry.ended, "client_gone");
    assert.ok(entry.chunks_sent.length < 100, `${entry.chunks_sent.length} tokens sent`);
  });
});

describe("which way it is asked", () => {
  const listed = async () => (await tenant.get("/v1/models")).json.data.filter(({ owned_by }) => owned_by === "workers-ai").length;
  const configured = async () => JSON.parse((await call(`${site.url}/readyz`)).text).checks;

  async function restarted(env) {
    await site.gateway.stop();
    Object.assign(site.options.env, { WORKERS_AI_VIA: undefined, CLOUDFLARE_API_TOKEN: undefined, WORKERS_AI_BASE_URL: undefined, ...env });
    await site.start();
  }

  test("the binding needs no key", async () => {
    assert.ok((await configured()).providers.configured.includes("workers-ai"));
    assert.ok((await listed()) > 10);
  });

  test("a token of the operator's is used instead, unless the binding is chosen", async () => {
    const rest = { CLOUDFLARE_API_TOKEN: "cf-token-1b9d", WORKERS_AI_BASE_URL: `${site.simulator.url}/workers-ai/v1` };
    for (const [env, path] of [[rest, "/workers-ai/v1/chat/completions"], [{ ...rest, WORKERS_AI_VIA: "binding" }, "/run"]]) {
      await restarted(env);
      assert.equal((await ask("chat", hello(`${NATIVE}-n1-way`))).status, 200);
      assert.equal((await asked(`${NATIVE}-n1-way`)).path, path);
    }
  });

  test("or none of both", async () => {
    await restarted({ WORKERS_AI_VIA: "rest", CLOUDFLARE_ACCOUNT_ID: "0123abcd" });
    const { error } = JSON.parse((await ask("chat", hello(NATIVE))).text);
    assert.match(error.attempts.join(), /no API key is configured \(CLOUDFLARE_API_TOKEN\)/);
    assert.equal(await listed(), 0);
  });

  test("a binding that is chosen and not there is told", async () => {
    await restarted({ WORKERS_AI_VIA: "binding" });
    await site.gateway.stop();
    const { aiAddress } = site.options;
    site.options.aiAddress = undefined;
    await site.start();
    assert.match((await configured()).configuration.problems.join(), /no binding AI/);
    await site.gateway.stop();
    site.options.aiAddress = aiAddress;
    await restarted({});
    assert.equal((await ask("chat", hello(`${NATIVE}-n1`))).status, 200);
  });
});
