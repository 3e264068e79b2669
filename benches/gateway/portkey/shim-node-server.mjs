// Stands in for @hono/node-server and @hono/node-ws when the published Node bundle runs inside workerd:
// keeps the application's fetch instead of listening.
export const serve = ({ fetch }) => {
  globalThis.__gateway = fetch;
  return {};
};
export const createNodeWebSocket = () => ({
  injectWebSocket() {},
  upgradeWebSocket: () => (c) => c.text("no", 501),
});
