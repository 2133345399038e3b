// Starts the page: views, connection, account, theme and keys.

import { ask, logIn, logOut, me } from "./api.js";
import { $, dialog, h, put } from "./dom.js";
import { lostSince, on, open, status } from "./live.js";
import { makeSwitch, renew, turnOff } from "./push.js";
import * as review from "./review.js";
import * as setup from "./setup.js";
import * as wall from "./wall.js";
import { clock, plural, sentence, span, summary } from "./words.js";

const VIEWS = { wall, review, setup };
let current = null;

function route() {
  const [, name, query] = location.hash.match(/^#\/(\w+)(?:\?(.*))?$/) ?? [null, "wall", ""];
  const next = VIEWS[name] ? name : "wall";
  if (current !== next) {
    VIEWS[current]?.leave();
    for (const view of Object.keys(VIEWS)) $(view).hidden = view !== next;
    for (const link of document.querySelectorAll("nav a")) {
      if (link.dataset.view === next) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
    }
    if (current !== null) window.scrollTo(0, 0);
    current = next;
  }
  VIEWS[current].enter(new URLSearchParams(query ?? ""));
}

// ---- connection

let lostTimer = null;

function showConnection(state) {
  clearInterval(lostTimer);
  $("lost").hidden = state !== "lost";
  if (state === "lost") {
    const since = lostSince();
    const show = () => put($("lost"), since
      ? "No connection since " + clock(new Date(since)) + ". What you see is old; how the cameras are now is not known. Trying again …"
      : "The server does not answer. Trying again …");
    show();
    lostTimer = setInterval(show, 5000);
    document.title = "✕ No connection · streamad";
    if (!since) put($("wall-title"), "The server does not answer");
  }
  if (state === "login") {
    if (status) return location.reload();   // a login has ended: nothing that it showed stays
    document.title = "Log in · streamad";
    put($("wall-title"), "Log in to see the cameras");
    put($("facts"), "");
    for (const ghost of document.querySelectorAll(".ghost")) ghost.remove();
    showLogin();
  }
}

function showStatus(document_) {
  const [kind, text] = summary(document_.cameras);
  document.title = ({ alert: "⚠ ", bad: "▲ ", warn: "▲ " }[kind] ?? "") + text + " · streamad";
  const faults = (document_.outputs ?? []).filter((output) => output.error && output.name !== "events")
    .map((output) => output.name + " cannot be written: " + output.error);
  if (document_.events.error) faults.unshift("Events cannot be written to disk and are kept in memory: " + document_.events.error);
  put($("outputs"), faults.join(". "));
  $("outputs").hidden = !faults.length;
}

let counting = null;
function countUnreviewed() {
  clearTimeout(counting);
  counting = setTimeout(async () => {
    try {
      const { total } = await ask("events?mark=none&limit=1");
      put($("unreviewed"), total > 99 ? "99+" : String(total));
      $("unreviewed").setAttribute("aria-label", plural(total, "event") + " not reviewed");
      $("unreviewed").hidden = !total;
    } catch { $("unreviewed").hidden = true; }
  }, 300);
}

// ---- account

function showAccount() {
  const button = $("account");
  button.hidden = me.name === null && !me.login;
  put(button, me.name === null ? "Log in" : me.name);
  button.setAttribute("aria-label", me.name === null ? "Log in" : "Account of " + me.name + ", " + me.role);
}

function showLogin() {
  if (document.querySelector("dialog.login")) return;
  const fault = h("p", { class: "fault", role: "alert", hidden: true });
  const name = h("input", { name: "name", autocomplete: "username", required: true, autocapitalize: "none" });
  const password = h("input", { name: "password", type: "password", autocomplete: "current-password", required: true });
  const submit = h("button", { class: "primary" }, "Log in");
  const form = h("form", {}, h("h2", {}, "Log in"), h("label", {}, "Name", name), h("label", {}, "Password", password), fault, submit);
  const box = dialog("Log in", form);
  box.classList.add("login");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    submit.disabled = true;
    try {
      await logIn(name.value, password.value);
      box.close();
      await open();
      route();
    } catch (problem) {
      put(fault, sentence(problem.message + (problem.hint ? ": " + problem.hint : "")));
      fault.hidden = false;
      password.value = "";
      password.focus();
    } finally { submit.disabled = false; }
  });
  name.focus();
}

$("account").addEventListener("click", () => {
  if (me.name === null) return showLogin();
  const leave = async () => {
    // The server forgets this device with the session in any case.
    await Promise.race([turnOff().catch(() => {}), new Promise((done) => setTimeout(done, 2000))]);
    await logOut();
    location.reload();
  };
  const out = h("button", { type: "button", class: "primary", onclick: leave }, "Log out");
  const can = { viewer: "look at everything", operator: "look at everything and mark events", admin: "do everything" }[me.role] ?? "";
  dialog("Account", h("h2", {}, me.name), h("p", {}, "You are " + me.role + ": you may " + can + "."), makeSwitch(), me.authentication === "session" ? out : null);
});

// ---- theme and keys

$("theme").addEventListener("click", () => {
  const dark = getComputedStyle(document.documentElement).colorScheme.trim() === "dark";
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("theme", dark ? "light" : "dark"); } catch { /* for this visit only */ }
});

const KEYS = [
  ["1 2 3", "Wall, review, set up"], ["j k", "Next or previous camera or event"], ["space", "Play or stop the clip"],
  ["r", "Reviewed"], ["f", "False alarm; on the wall: enlarge the camera"], ["u", "Withdraw the mark"],
  ["Enter", "Everything about the event"], ["m", "Anomaly map of the camera"], ["t", "Dark or light"], ["?", "This list"],
];

function showKeys() {
  if (document.querySelector("dialog")) return;
  dialog("Keyboard shortcuts", h("h2", {}, "Keys"), h("dl", { class: "keys" },
    KEYS.map(([keys, what]) => h("div", {}, h("dt", {}, keys.split(" ").map((key) => h("kbd", {}, key))), h("dd", {}, what)))));
}
$("keys").addEventListener("click", showKeys);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog")) return;
  if (event.target.closest("input, select, textarea, video, [data-keys]")) return;
  const isControl = event.target.closest("button, a, summary");
  if (isControl && (event.key === " " || event.key === "Enter")) return;
  if (event.key === "?") showKeys();
  else if (event.key === "t") $("theme").click();
  else if ("123".includes(event.key)) location.hash = "#/" + Object.keys(VIEWS)[Number(event.key) - 1];
  else if (!VIEWS[current].key(event.key)) return;
  event.preventDefault();
});

on("connection", showConnection);
on("status", showStatus);
on("me", showAccount);
on("me", renew);
on("mark", countUnreviewed);
on("event", countUnreviewed);
on("connection", (state) => { if (state === "live") countUnreviewed(); });
window.addEventListener("hashchange", route);
navigator.serviceWorker?.addEventListener("message", ({ data }) => {   // a notification was clicked
  if (location.hash === data.open) route(); else location.hash = data.open;
});
route();
open();
