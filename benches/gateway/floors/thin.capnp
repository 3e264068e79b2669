# The thin floor. The runner sets the upstream's address on the command line, and -I finds thin.wasm.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .thin),
    (name = "upstream", external = (address = "127.0.0.1:0", http = ())),
  ],
  sockets = [ (name = "http", address = "127.0.0.1:0", http = (), service = "main") ],
);

const thin :Workerd.Worker = (
  modules = [
    (name = "thin.mjs", esModule = embed "thin.mjs"),
    (name = "thin.wasm", wasm = embed "/thin.wasm"),
  ],
  compatibilityDate = "2026-11-17",
  bindings = [ (name = "UPSTREAM", service = "upstream") ],
);
