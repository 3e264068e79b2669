// A Chromium without a window, driven over the DevTools protocol.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";

const USUAL_PLACES = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
];
/** A cold start on a busy machine takes seconds. */
const START_LIMIT_MS = 60_000;

/** The browser to use: CHROME, or one in a usual place. */
export const chromium = process.env.CHROME || USUAL_PLACES.find((file) => existsSync(file));

/** Why no browser can be driven, or false. */
export const unable = !chromium
  ? "no Chromium is installed; install one, or name it in CHROME"
  : typeof WebSocket === "undefined" && "Node 22 or newer is needed, for its WebSocket";

export async function openBrowser() {
  const profile = await mkdtemp(path.join(os.tmpdir(), "tollgate-browser-"));
  // No sandbox: containers and CI often cannot make one, and only our own page is opened.
  const argv = ["--headless", "--no-sandbox", "--disable-background-networking", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run"];
  const child = spawn(chromium, [...argv, "--remote-debugging-port=0", `--user-data-dir=${profile}`, "about:blank"], { stdio: ["ignore", "ignore", "pipe"] });
  const exited = new Promise((resolve) => child.once("exit", resolve));
  const killAtExit = () => child.kill("SIGKILL");
  process.once("exit", killAtExit);
  const close = async () => {
    child.kill("SIGKILL");
    await exited;
    process.off("exit", killAtExit);
    // Its helpers may still be writing.
    await rm(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  };
  try {
    const socket = new WebSocket(await address(child, exited));
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = () => reject(new Error("the browser's DevTools socket cannot be opened"));
    });
    return new Browser(socket, close);
  } catch (error) {
    await close();
    throw error;
  }
}

function address(child, exited) {
  return new Promise((resolve, reject) => {
    const lines = [];
    const give = (why) => reject(new Error(`the browser ${why}:\n${lines.slice(-20).join("\n")}`));
    const timer = setTimeout(give, START_LIMIT_MS, "did not start in time");
    exited.then(() => give("ended"));
    createInterface({ input: child.stderr }).on("line", (line) => {
      lines.push(line);
      const found = /^DevTools listening on (ws:\S+)/.exec(line);
      if (!found) return;
      clearTimeout(timer);
      resolve(found[1]);
    });
  });
}

class Browser {
  #waiting = new Map();
  #pages = new Map();
  #next = 0;

  constructor(socket, close) {
    this.socket = socket;
    this.close = close;
    socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
    socket.onclose = () => {
      for (const { reject } of this.#waiting.values()) reject(new Error("the browser is gone"));
    };
  }

  #take({ id, result, error, method, params, sessionId }) {
    if (id === undefined) {
      this.#pages.get(sessionId)?.heard(method, params);
      return;
    }
    const { resolve, reject, what } = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error) reject(new Error(`${what}: ${error.message}`));
    else resolve(result);
  }

  send(method, params = {}, sessionId = undefined) {
    this.#next += 1;
    const id = this.#next;
    const answer = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject, what: method }));
    this.socket.send(JSON.stringify({ id, method, params, sessionId }));
    return answer;
  }

  /** A page with a session storage of its own. */
  async page() {
    const { browserContextId } = await this.send("Target.createBrowserContext");
    const { targetId } = await this.send("Target.createTarget", { url: "about:blank", browserContextId });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page((method, params) => this.send(method, params, sessionId));
    this.#pages.set(sessionId, page);
    for (const domain of ["Page", "Runtime", "Log", "Network"]) await page.send(`${domain}.enable`);
    return page;
  }
}

class Page {
  constructor(send) {
    this.send = send;
    /** Exceptions, console errors, dialogs and what the browser itself complains about. */
    this.complaints = [];
    /** Addresses asked for. */
    this.requested = [];
  }

  heard(method, params) {
    if (method === "Runtime.exceptionThrown") {
      this.complaints.push(`exception: ${params.exceptionDetails.exception?.description ?? params.exceptionDetails.text}`);
    } else if (method === "Runtime.consoleAPICalled" && ["error", "warning", "assert"].includes(params.type)) {
      this.complaints.push(`console: ${params.args.map((arg) => arg.value ?? arg.description).join(" ")}`);
    } else if (method === "Log.entryAdded" && ["error", "warning"].includes(params.entry.level)) {
      this.complaints.push(`${params.entry.source}: ${params.entry.text}`);
    } else if (method === "Page.javascriptDialogOpening") {
      this.complaints.push(`dialog: ${params.message}`);
    } else if (method === "Network.requestWillBeSent") {
      this.requested.push(params.request.url);
    }
  }

  /** The value of an expression in the page. */
  async value(expression) {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description ?? exceptionDetails.text}`);
    return result.value;
  }

  /** Opens an address; resolves when a document is there. */
  async open(url) {
    const { errorText } = await this.send("Page.navigate", { url });
    if (errorText) throw new Error(`${url}: ${errorText}`);
  }

  /** Types into the element that has the focus. */
  type(text) {
    return this.send("Input.insertText", { text });
  }

  async press(key, code) {
    const params = { key, code: key, windowsVirtualKeyCode: code, text: key === "Enter" ? "\r" : undefined };
    await this.send("Input.dispatchKeyEvent", { type: "keyDown", ...params });
    await this.send("Input.dispatchKeyEvent", { type: "keyUp", ...params, text: undefined });
  }

  /** How the page is looked at. */
  async look({ width = 1280, height = 900, scheme = "light" } = {}) {
    // A scrollbar takes its width from the page in one system and not in another.
    await this.send("Emulation.setScrollbarsHidden", { hidden: true });
    await this.send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: false });
    await this.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
  }

  /** The whole page as a PNG. */
  async picture() {
    const { data } = await this.send("Page.captureScreenshot", { format: "png", captureBeyondViewport: true });
    return Buffer.from(data, "base64");
  }
}
