// The wakers of wasm-bindgen-futures go through queueMicrotask. The runtime's own wraps each callback in
// a native object; a settled promise does the same job inside the JavaScript engine.
const settled = Promise.resolve();
globalThis.queueMicrotask = (callback) => {
  settled.then(callback);
};
