// Cargo, wasm-bindgen and esbuild, in this order, with a stamp that
// tells when there is nothing to do. Called by scripts/build.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const OUT = path.join(ROOT, "build");
const STAMP = path.join(ROOT, ".tools/bundle.json");
const FILES = ["index.js", "index.wasm"];
const INPUTS = [
  "src",
  "durable",
  "Cargo.toml",
  "Cargo.lock",
  "rust-toolchain.toml",
  ".cargo/config.toml",
  "package-lock.json",
  "scripts/build",
  "scripts/lib/build.mjs",
];
/** The smallest size that is too large: bytes of gzip of both files together. */
const SIZE_LIMIT = 1_000_000;

const args = new Set(process.argv.slice(2));
const fast = args.has("--fast") && !args.has("--release");

try {
  const inputs = hashOf(INPUTS.flatMap(filesUnder));
  const fresh = upToDate(inputs);
  if (fresh) console.error("build: nothing changed");
  else await build(inputs);
  if (!fresh || args.has("--check-size")) report(args.has("--check-size"));
} catch (error) {
  console.error(`build: ${error.message}`);
  process.exitCode = 1;
}

async function build(inputs) {
  const started = Date.now();
  checkBindgen();
  mkdirSync(path.join(ROOT, ".tools"), { recursive: true });
  const work = mkdtempSync(path.join(ROOT, ".tools/bundle-"));
  try {
    const glue = bind(compile(), work);
    const wasm = path.join(work, "index_bg.wasm");
    const js = await bundle(glue, path.join(work, "index.js.out"));
    rmSync(STAMP, { force: true });
    mkdirSync(OUT, { recursive: true });
    for (const name of readdirSync(OUT)) if (!FILES.includes(name)) rmSync(path.join(OUT, name), { recursive: true });
    renameSync(js, path.join(OUT, "index.js"));
    renameSync(wasm, path.join(OUT, "index.wasm"));
    writeFileSync(STAMP, JSON.stringify({ inputs, optimised: !fast, outputs: hashOf(outputs()) }));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  console.error(`build: done in ${((Date.now() - started) / 1000).toFixed(1)} s`);
}

/** Compiles the crate and returns the path of its wasm file. */
function compile() {
  const out = run("cargo", [
    "build",
    fast ? "--profile=fast" : "--release",
    "--target=wasm32-unknown-unknown",
    "--package=tollgate",
    "--message-format=json-render-diagnostics",
  ]);
  const files = out
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line))
    .filter((message) => message.reason === "compiler-artifact" && message.target.name === "tollgate")
    .flatMap((message) => message.filenames);
  const wasm = files.find((file) => file.endsWith(".wasm"));
  if (!wasm) throw new Error("cargo made no tollgate.wasm");
  return wasm;
}

/** Runs wasm-bindgen and returns the path of its JavaScript. */
function bind(wasm, dir) {
  run(bindgen(), [
    wasm,
    // This target loads and starts the instance itself, and starts a new one
    // after a panic; only it (of those a worker can use) has the two options.
    "--target=module",
    "--experimental-reset-state-function",
    "--force-enable-abort-handler",
    "--no-typescript",
    "--out-name=index",
    `--out-dir=${dir}`,
    ...(fast ? [] : ["--remove-name-section", "--remove-producers-section"]),
  ]);
  return path.join(dir, "index.js");
}

/**
 * One ES module out of src/edge/entry.mjs, what it imports and wasm-bindgen's
 * JavaScript, which the entry imports as "tollgate-glue".
 */
async function bundle(glue, outfile) {
  const esbuild = createRequire(import.meta.url)("esbuild");
  const glueModule = {
    name: "tollgate-glue",
    setup(build) {
      build.onResolve({ filter: /^tollgate-glue$/ }, () => ({ path: glue }));
      build.onLoad({ filter: /index\.js$/ }, ({ path: file }) => (file === glue ? { contents: glueSource(glue) } : null));
    },
  };
  await esbuild.build({
    entryPoints: [path.join(ROOT, "src/edge/entry.mjs")],
    outfile,
    bundle: true,
    format: "esm",
    platform: "neutral",
    target: "es2022",
    external: ["cloudflare:*", "node:*", "./index.wasm"],
    plugins: [glueModule],
    minifyWhitespace: !fast,
    minifySyntax: !fast,
    legalComments: "none",
    absWorkingDir: ROOT,
    logLevel: "warning",
  });
  return outfile;
}

/**
 * wasm-bindgen's JavaScript with two changes: the wasm file is imported in the
 * way that workerd knows, and `instance()` starts a new instance if the one
 * before had a fault, and returns the number of the one of now. wasm-bindgen
 * does the first by itself before each call, but after it has written the
 * call's strings into the memory of the old one.
 */
function glueSource(file) {
  const source = readFileSync(file, "utf8");
  const imported = /import source (\w+) from "\.\/index_bg\.wasm";/;
  const known = [imported, /function __wbg_call_guard\(\)/, /let __wbg_instance_id\b/].every((form) => form.test(source));
  if (!known) throw new Error("wasm-bindgen's output has a new form: scripts/lib/build.mjs must follow");
  const added = "export function instance() { __wbg_call_guard(); return __wbg_instance_id; }";
  return `${source.replace(imported, 'import $1 from "./index.wasm";')}\n${added}\n`;
}

function report(check) {
  const sizes = outputs().map((file) => {
    const content = readFileSync(file);
    return { name: path.relative(ROOT, file), raw: content.length, gzip: gzipSync(content, { level: 9 }).length };
  });
  const sum = (key) => sizes.reduce((total, size) => total + size[key], 0);
  const number = (value) => value.toLocaleString("en-US").padStart(11);
  for (const size of [...sizes, { name: "together", raw: sum("raw"), gzip: sum("gzip") }]) {
    console.error(`  ${size.name.padEnd(17)}${number(size.raw)} bytes${number(size.gzip)} gzip`);
  }
  if (check && sum("gzip") >= SIZE_LIMIT) {
    throw new Error(`the bundle reaches ${SIZE_LIMIT.toLocaleString("en-US")} bytes of gzip`);
  }
}

function upToDate(inputs) {
  if (!existsSync(STAMP) || !outputs().every(existsSync)) return false;
  const stamp = JSON.parse(readFileSync(STAMP, "utf8"));
  return stamp.inputs === inputs && stamp.outputs === hashOf(outputs()) && (fast || stamp.optimised);
}

function outputs() {
  return FILES.map((name) => path.join(OUT, name));
}

function filesUnder(name) {
  const full = path.join(ROOT, name);
  if (!existsSync(full)) return [];
  const entries = readdirSyncOrNull(full);
  if (entries === null) return [full];
  return entries.sort().flatMap((entry) => filesUnder(path.join(name, entry)));
}

function readdirSyncOrNull(full) {
  try {
    return readdirSync(full);
  } catch (error) {
    if (error.code === "ENOTDIR") return null;
    throw error;
  }
}

function hashOf(files) {
  const hash = createHash("sha256");
  for (const file of files) hash.update(path.relative(ROOT, file)).update("\0").update(readFileSync(file)).update("\0");
  return hash.digest("hex");
}

function bindgen() {
  return path.join(ROOT, ".tools/bin/wasm-bindgen");
}

/** Library and program speak a private format: their versions must be the same. */
function checkBindgen() {
  const lock = readFileSync(path.join(ROOT, "Cargo.lock"), "utf8");
  const wanted = /name = "wasm-bindgen"\nversion = "([^"]+)"/.exec(lock)?.[1];
  const have = run(bindgen(), ["--version"]).trim().split(" ")[1];
  if (wanted !== have) throw new Error(`wasm-bindgen is ${have}, Cargo.lock wants ${wanted}: run scripts/setup`);
}

function run(program, argv) {
  const done = spawnSync(program, argv, { cwd: ROOT, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"], maxBuffer: 2 ** 28 });
  if (done.error) throw done.error;
  if (done.status !== 0) throw new Error(`${path.basename(program)} failed`);
  return done.stdout;
}
