// Drives a headless Chromium over its pipe, without a library: browser.js CHROMIUM, and steps as JSON lines on standard
// input. Each answer is a line of JSON; the last one lists what the console said and which addresses were asked for.
"use strict";

const { spawn } = require("node:child_process");
const { mkdtempSync, rmSync } = require("node:fs");
const { tmpdir } = require("node:os");
const { join } = require("node:path");
const { createInterface } = require("node:readline");

const directory = mkdtempSync(join(tmpdir(), "browser-"));
const browser = spawn(process.argv[2], ["--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
  "--host-resolver-rules=MAP evil.test 127.0.0.1", `--user-data-dir=${directory}`, "about:blank"], { detached: true, stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });

let last = 0;
let session;
const waiting = new Map();
const log = { console: [], requests: [] };

let rest = Buffer.alloc(0);
browser.stdio[4].on("data", (data) => {
  rest = Buffer.concat([rest, data]);
  for (let end = rest.indexOf(0); end >= 0; end = rest.indexOf(0)) {
    receive(JSON.parse(rest.subarray(0, end).toString()));
    rest = rest.subarray(end + 1);
  }
});

function receive({ id, result, error, method, params }) {
  if (id !== undefined) {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error) reject(new Error(error.message)); else resolve(result);
  } else if (method === "Runtime.exceptionThrown") {
    log.console.push(params.exceptionDetails.exception?.description || params.exceptionDetails.text);
  } else if (method === "Log.entryAdded" && params.entry.level === "error") {
    log.console.push(`${params.entry.text} ${params.entry.url || ""}`);
  } else if (method === "Runtime.consoleAPICalled" && params.type === "error") {
    log.console.push(params.args.map((argument) => argument.value).join(" "));
  } else if (method === "Network.requestWillBeSent") {
    log.requests.push(params.request.url);
  }
}

function call(method, params = {}) {
  last += 1;
  const id = last;
  browser.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId: session })}\0`);
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}

async function evaluate(expression) {
  const { result, exceptionDetails } = await call("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
  if (exceptionDetails) throw new Error(exceptionDetails.exception?.description || exceptionDetails.text);
  return result.value;
}

// Until an expression is true: what it gives then, or null after ten seconds.
async function until(expression) {
  for (let tries = 0; tries < 200; tries += 1) {
    const value = await evaluate(expression).catch(() => null);
    if (value) return value;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return null;
}

const steps = {
  go: async ({ url }) => (await call("Page.navigate", { url })).errorText || null,
  size: async ({ width, height, dark }) => {
    await call("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: false });
    await call("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }] });
  },
  evaluate: ({ script }) => evaluate(script),
  until: ({ script }) => until(script),
  key: async ({ key }) => {
    const text = key.length === 1 ? key : key === "Enter" ? "\r" : undefined;
    await call("Input.dispatchKeyEvent", { type: "keyDown", key, text });
    await call("Input.dispatchKeyEvent", { type: "keyUp", key });
  },
  shot: async ({ file }) => {
    const { data } = await call("Page.captureScreenshot", { format: "png" });
    require("node:fs").writeFileSync(file, Buffer.from(data, "base64"));
  },
};

async function main() {
  const { targetInfos } = await call("Target.getTargets");
  const target = targetInfos.find(({ type }) => type === "page");
  ({ sessionId: session } = await call("Target.attachToTarget", { targetId: target.targetId, flatten: true }));
  for (const domain of ["Page", "Runtime", "Network", "Log"]) await call(`${domain}.enable`);
  for await (const line of createInterface({ input: process.stdin })) {
    const step = JSON.parse(line);
    const value = await steps[step.do](step).catch((error) => ({ error: error.message }));
    console.log(JSON.stringify(value === undefined ? null : value));
  }
  console.log(JSON.stringify(log));
}

// What was started is a script that starts the browser: all of its group has to end.
function end() {
  try {
    process.kill(-browser.pid, "SIGKILL");
  } catch {
    // It has ended.
  }
  rmSync(directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  process.exit();
}

main().catch((error) => console.log(JSON.stringify({ error: error.message }))).finally(() => {
  setTimeout(end, 3000);
  call("Browser.close").finally(end);
});
