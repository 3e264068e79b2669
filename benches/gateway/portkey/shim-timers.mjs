// Injected by esbuild: the published bundle animates a spinner with timers while it loads; workerd
// allows timers only inside a request. Until the first request these are stand-ins.
export const setTimeout = (f, ms, ...args) =>
  globalThis.__serving ? globalThis.setTimeout(f, ms, ...args) : (Promise.resolve().then(() => f(...args)), 0);
export const setInterval = (f, ms, ...args) => (globalThis.__serving ? globalThis.setInterval(f, ms, ...args) : 0);
export const clearTimeout = (timer) => {
  if (globalThis.__serving) globalThis.clearTimeout(timer);
};
export const clearInterval = (timer) => {
  if (globalThis.__serving) globalThis.clearInterval(timer);
};
export const __stdout = { write() {}, isTTY: false };
