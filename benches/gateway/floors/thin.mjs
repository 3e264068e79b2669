// The floor of a gateway in Rust: a thin JavaScript shell that crosses into wasm with bytes only. The
// request is parsed, changed and written again in wasm; a JSON answer is parsed there as well. A streamed
// answer passes untouched.
import module from "thin.wasm";

const { memory, take, release, rewrite, output } = new WebAssembly.Instance(module, {}).exports;
const UPSTREAM = "http://upstream/v1/chat/completions";

function cross(bytes) {
  const at = take(bytes.length);
  new Uint8Array(memory.buffer, at, bytes.length).set(bytes);
  const length = rewrite(at, bytes.length);
  release(at, bytes.length);
  return new Uint8Array(memory.buffer, output(), length);
}

export default {
  async fetch(request, env) {
    const body = cross(new Uint8Array(await request.arrayBuffer())).slice();
    const headers = { "content-type": "application/json", authorization: request.headers.get("authorization") ?? "" };
    const response = await env.UPSTREAM.fetch(UPSTREAM, { method: "POST", headers, body });
    if (response.headers.get("content-type") !== "application/json") return response;
    const answer = await response.arrayBuffer();
    cross(new Uint8Array(answer));
    return new Response(answer, response);
  },
};
