// The server's news: a stream while somebody looks, polling where streams do not get through, nothing in the background.

import { ask, whoAmI } from "./api.js";

const HIDDEN_SECONDS = 20, POLL_SECONDS = 3, SILENT_SECONDS = 12;
const bus = new EventTarget();
let source = null, timer = null, contacted = 0, connection = "connecting";
export let status = null;

export const on = (kind, listener) => bus.addEventListener(kind, (event) => listener(event.detail));
export const tell = (kind, detail) => bus.dispatchEvent(new CustomEvent(kind, { detail }));

function become(next) {
  if (next === connection) return;
  connection = next;
  tell("connection", next);
}

function take(document) {
  contacted = Date.now();
  status = document;
  become("live");
  tell("status", document);
}

export function close() {
  clearTimeout(timer);
  source?.close();
  source = timer = null;
}

export async function open() {
  close();
  const known = await whoAmI();
  tell("me");
  if (known === "login") return become("login");
  if (known === "lost") return retry();
  source = new EventSource("/api/v1/stream");
  source.addEventListener("status", (event) => take(JSON.parse(event.data)));
  for (const kind of ["event", "mark"]) source.addEventListener(kind, (event) => tell(kind, JSON.parse(event.data)));
  source.addEventListener("error", () => {
    if (source?.readyState === EventSource.CLOSED) { close(); poll(); }   // refused: too many viewers, or a proxy without streams
  });
}

function retry() {
  become("lost");
  clearTimeout(timer);
  timer = setTimeout(open, POLL_SECONDS * 1000);
}

async function poll() {
  try {
    const document = await ask("status");
    for (const camera of document.cameras) camera.is_scored = camera.recent.slice(-50).some((point) => point[1] !== null);
    take(document);
    timer = setTimeout(poll, POLL_SECONDS * 1000);
  } catch (problem) {
    if (problem.status === 401) open(); else retry();
  }
}

export const lostSince = () => contacted;

setInterval(() => {
  if (source && connection !== "lost" && Date.now() - contacted > SILENT_SECONDS * 1000 && contacted) retry();
}, 2000);

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) { clearTimeout(timer); if (!source) open(); }
  else if (source) timer = setTimeout(close, HIDDEN_SECONDS * 1000);
});
