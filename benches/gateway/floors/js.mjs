// The floors in plain JavaScript. The first part of the path picks one:
//   /pass     forwards and looks at nothing (js-pass, the unit of every ratio)
//   /object   one call of a Durable Object in memory, then forwards
//   /write    one call of a Durable Object with one SQLite write, then forwards
import { DurableObject } from "cloudflare:workers";

const UPSTREAM = "http://upstream/v1/chat/completions";

export class Counter extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.count = 0;
    this.sql = ctx.storage.sql;
    this.sql.exec("CREATE TABLE IF NOT EXISTS counts (id INTEGER PRIMARY KEY, n INTEGER)");
    this.sql.exec("INSERT OR IGNORE INTO counts VALUES (1, 0)");
  }
  add() {
    return ++this.count;
  }
  write() {
    this.sql.exec("UPDATE counts SET n = n + 1 WHERE id = 1");
    return ++this.count;
  }
}

const counter = (env) => env.COUNTER.get(env.COUNTER.idFromName("one"));
const forward = (request, env) => env.UPSTREAM.fetch(new Request(UPSTREAM, request));

export default {
  async fetch(request, env) {
    switch (new URL(request.url).pathname.split("/")[1]) {
      case "pass":
        return forward(request, env);
      case "object":
        await counter(env).add();
        return forward(request, env);
      case "write":
        await counter(env).write();
        return forward(request, env);
      default:
        return new Response("no such floor", { status: 404 });
    }
  },
};
