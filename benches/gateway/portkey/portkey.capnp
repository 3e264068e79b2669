# Portkey's npm bundle as a worker. The bundle and its entry are found by -I; nothing but this host is
# reachable from it.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .portkey),
    (name = "internet", network = (allow = ["private"])),
  ],
  sockets = [ (name = "http", address = "127.0.0.1:0", http = (), service = "main") ],
);

const portkey :Workerd.Worker = (
  modules = [
    (name = "entry.mjs", esModule = embed "entry.mjs"),
    (name = "portkey.js", esModule = embed "/portkey.js"),
  ],
  compatibilityDate = "2026-11-17",
  compatibilityFlags = ["nodejs_compat"],
);
