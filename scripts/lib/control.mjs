// Lets a script fire the gateway's cron handler:
// POST /scheduled?cron=<expression>&time=<ms since the epoch>
export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    if (request.method !== "POST" || url.pathname !== "/scheduled") return new Response(null, { status: 404 });
    const cron = url.searchParams.get("cron") ?? "* * * * *";
    const time = Number(url.searchParams.get("time") ?? Date.now());
    if (!Number.isFinite(time)) return new Response("time is milliseconds since the epoch\n", { status: 400 });
    const result = await env.MAIN.scheduled({ cron, scheduledTime: new Date(time) });
    return Response.json(result, { status: result.outcome === "ok" ? 200 : 500 });
  },
};
