# The floors in JavaScript. The runner sets the upstream's address and the folder of the objects on the
# command line, and the system picks the port.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .js),
    (name = "upstream", external = (address = "127.0.0.1:0", http = ())),
    (name = "objects", disk = (path = "objects", writable = true)),
  ],
  sockets = [ (name = "http", address = "127.0.0.1:0", http = (), service = "main") ],
);

const js :Workerd.Worker = (
  modules = [ (name = "js.mjs", esModule = embed "js.mjs") ],
  compatibilityDate = "2026-11-17",
  bindings = [
    (name = "UPSTREAM", service = "upstream"),
    (name = "COUNTER", durableObjectNamespace = "Counter"),
  ],
  durableObjectNamespaces = [ (className = "Counter", uniqueKey = "bench-counter", enableSql = true) ],
  durableObjectStorage = (localDisk = "objects"),
);
