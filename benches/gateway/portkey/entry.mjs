import "portkey.js";

export default {
  fetch(request, env, ctx) {
    globalThis.__serving = true;
    return globalThis.__gateway(request, env, ctx);
  },
};
