// Alerts on this device: whether its browser can show them, and turning them on and off.

import { ask, me, request } from "./api.js";
import { h, put, say } from "./dom.js";

const WORKER = "/static/current/worker.js";
const PATIENCE_SECONDS = 20;
const ON = "On: alerts appear on this device, also while the page is closed.";
const OFF = "Off: alerts are shown on this page alone.";

/** Why this device cannot be told; null if it can. */
function obstacle() {
  if (!window.isSecureContext) return "Not possible: it needs https. Open this page by an address that begins with https.";
  if (!("serviceWorker" in navigator && "PushManager" in window && "Notification" in window)) {
    return navigator.standalone === false ? "Not possible yet: add this page to the home screen first, and open it from there."
      : "Not possible: this browser does not support it.";
  }
  return Notification.permission === "denied" ? "Blocked by the browser: allow notifications for this page in its settings." : null;
}

async function subscription() {
  const registration = await navigator.serviceWorker?.getRegistration("/");
  return await registration?.pushManager?.getSubscription() ?? null;
}

const base64 = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

/** Subscribe at the browser's push service. A browser that does not reach it would wait without end. */
async function subscribed(pushManager, key) {
  const asked = pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
  const late = new Promise((_, fail) => setTimeout(fail, PATIENCE_SECONDS * 1000, new DOMException("no answer", "AbortError")));
  try {
    return await Promise.race([asked, late]);
  } catch (problem) {
    asked.then((made) => made.unsubscribe(), () => { /* it was not made */ });
    throw problem;
  }
}

async function turnOn() {
  if (await Notification.requestPermission() !== "granted") return;   // first: some browsers ask right after a click only
  const { key } = await ask("push");
  await navigator.serviceWorker.register(WORKER, { scope: "/" });
  const { pushManager } = await navigator.serviceWorker.ready;
  const known = await pushManager.getSubscription();
  if (known && base64(known.options.applicationServerKey) !== key) await known.unsubscribe();   // the server has a new key
  const made = await subscribed(pushManager, key);
  const { endpoint, keys } = made.toJSON();
  try {
    await request("push/subscribe", { method: "POST", body: { endpoint, keys } });
  } catch (problem) {
    await made.unsubscribe();
    throw problem;
  }
}

/** Tell this device no longer. The browser forgets first, so that nothing arrives even if the server is not reached. */
export async function turnOff() {
  const known = await subscription();
  if (!known) return;
  const { endpoint } = known;
  await known.unsubscribe();
  await request("push/unsubscribe", { method: "POST", body: { endpoint } });
}

/** At every visit: a device that is on belongs to who is logged in, and to this session. */
export async function renew() {
  try {
    if (me.name !== null && obstacle() === null && await subscription()) await turnOn();
  } catch { /* the next visit tries again */ }
}

function reason(problem) {
  if (problem.status === 0) return "the server does not answer";
  if (problem.status) return problem.message;
  return problem.name === "AbortError" ? "this browser does not reach its push service (private windows have none)" : problem.message;
}

/** The switch, which shows itself if the server can notify browsers. */
export function makeSwitch() {
  const words = h("p", { id: "push-words", class: "dim" });
  const button = h("button", { type: "button", role: "switch", "aria-checked": "false", "aria-describedby": "push-words", onclick: press },
    "Tell this device about alerts");
  const node = h("div", { class: "switch", hidden: true }, button, words);

  async function show(fault = null) {
    const why = obstacle(), isOn = why === null && await subscription() !== null;
    button.setAttribute("aria-checked", String(isOn));
    button.disabled = why !== null;
    put(words, why ?? fault ?? (isOn ? ON : OFF));
  }

  async function press() {
    const wasOn = button.getAttribute("aria-checked") === "true";
    let fault = null;
    button.disabled = true;
    put(words, "One moment …");
    try { await (wasOn ? turnOff() : turnOn()); } catch (problem) {
      fault = (wasOn ? "Off here, but not on the server: " : "Not turned on: ") + reason(problem) + ".";
    }
    await show(fault);
    say(words.textContent);
  }

  ask("push").then(() => show()).then(() => { node.hidden = false; }, () => { /* this server notifies no browsers */ });
  return node;
}
