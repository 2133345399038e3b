// Set up: how sensitive a camera is, where it looks, and how far its numbers can be trusted.

import { ask, cameraPath, may, me } from "./api.js";
import { $, h, put, say, showRefusal } from "./dom.js";
import { hoursInWords, makeHours } from "./hours.js";
import { on, status } from "./live.js";
import { clipsOf, clock, dayOf, explained, plural, sentence, span, stateOf } from "./words.js";
import { makeZones } from "./zones.js";

const WEEK = 7 * 86400000;
const select = h("select", { "aria-label": "Camera" });
const body = h("div", { class: "panels" });
const title = h("h1", { id: "setup-title" }, "Set up");
$("setup").append(h("div", { class: "title row wrap" }, title, select), body);
select.addEventListener("change", () => { location.hash = "#/setup?camera=" + encodeURIComponent(select.value); });

let shown = null, words = null, loading = 0;

function often(perDay) {
  if (perDay >= 23.5) return plural(Math.round(perDay / 24), "false alert") + " an hour";
  if (perDay >= 0.99) return plural(Math.round(perDay * 10) / 10, "false alert") + " a day";
  if (perDay >= 1 / 7.5) return plural(Math.round(perDay * 70) / 10, "false alert") + " a week";
  return plural(Math.round(perDay * 300) / 10, "false alert") + " a month";
}

function panel(name, ...children) {
  const id = "panel-" + name.toLowerCase().replace(/\W+/g, "-");
  return h("section", { class: "panel", "aria-labelledby": id }, h("h2", { id }, name), ...children);
}

// ---- what it knows, in words

function describe(camera, settings) {
  const [kind, state, why] = stateOf(camera);
  const asked = settings?.alerts_per_day, vouched = settings?.vouched_alerts_per_day;
  const facts = [
    ["State", state + (why ? ". " + sentence(why) : ".")],
    ["Learned", camera.learning ? sentence(camera.learning) : "This camera does not go on learning."],
    ["False alerts", asked == null ? (camera.budget ? sentence(camera.budget) : camera.threshold === null ? "Not calibrated: nothing is reported." : null)
      : "Asked for: at most " + often(asked) + ". " + (vouched != null && vouched > asked * 1.001
        ? "The video seen so far supports " + often(vouched) + "; more normal video brings it down by itself."
        : "The normal video seen supports it, as long as the coming days resemble it.")],
    ["Picture", camera.quality ? "Faulty: " + camera.quality.replace(/_/g, " ") + "." : camera.size ? "Good, " + camera.size.join(" × ") + " pixels." : "None yet."],
    ["Left out", Object.keys(camera.held ?? {}).length ? Object.entries(camera.held).map(([reason, n]) => n.toLocaleString() + " frames " + reason.replace(/_/g, " ")).join(", ") + "." : null],
    ["Is normal still normal?", camera.drift ? sentence(camera.drift.message ?? (camera.drift.drifted === null ? "Not enough was seen yet to tell" : "Yes, the scores follow what was learned")) : null],
    ["Fits this camera?", camera.foreign ? sentence(camera.foreign) : null],
    ["Hours", [camera.schedule && sentence(camera.schedule), settings && hoursInWords(settings)].filter(Boolean).join(" ")],
    ["Clips", clipsOf(camera)],
  ].filter(([, text]) => text);
  return [h("p", { class: "verdict", "data-kind": kind }, h("span", { class: "state" }, state)), h("dl", { class: "said" }, facts.slice(1).map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text))))];
}

// ---- sensitivity

async function weekOf(camera) {
  const found = [], query = new URLSearchParams({ camera, since: new Date(Date.now() - WEEK).toISOString(), limit: "200" });
  for (let cursor = null, pages = 0; pages < 5; pages += 1) {
    if (cursor) query.set("cursor", cursor);
    const answer = await ask("events?" + query);
    found.push(...answer.events);
    cursor = answer.next;
    if (!cursor) break;
  }
  return found;
}

function makeSensitivity(camera, settings, steps, events, mayEdit) {
  // Either budgets, each with its threshold, or with a bare threshold the threshold itself.
  const isBudget = steps !== null && steps.length > 0;
  const peaks = events.map((event) => event.peak_score);
  const reach = Math.max(...peaks.map((peak) => peak - settings.display_threshold), 0) || Math.abs(settings.display_threshold) / 2 || 1;
  const choices = isBudget ? steps : Array.from({ length: 41 }, (_, i) => ({ threshold: settings.display_threshold + reach * (20 - i) / 20 }));
  const distance = (choice) => isBudget ? Math.abs(Math.log(choice.alerts_per_day / settings.alerts_per_day)) : Math.abs(choice.threshold - settings.display_threshold);
  const now = choices.reduce((best, choice, i) => (distance(choice) < distance(choices[best]) ? i : best), 0);
  const slider = h("input", { type: "range", min: 0, max: choices.length - 1, step: 1, value: String(now), id: "sensitivity", "data-keys": true });
  const label = h("output", { for: "sensitivity" }), effect = h("p", { role: "status" }), doubt = h("p", { class: "dim" });
  const strip = h("ol", { class: "strip" });
  const fault = h("div", { class: "fault", role: "alert", hidden: true });
  const save = h("button", { type: "button", class: "primary", hidden: true }, "Use this sensitivity");
  const yaml = h("pre", { tabindex: "0", hidden: true });
  const dots = events.slice(0, 60).map((event) => {
    const at = new Date(event.started_at), has = (event.evidence ?? []).includes("snapshot.jpg");
    return h("li", { title: dayOf(at) + " " + clock(at) + ": " + explained(event), "data-mark": event.mark?.kind ?? "none" },
      has ? h("img", { loading: "lazy", alt: "", src: "/api/v1/events/" + event.id + "/evidence/snapshot.jpg" }) : h("span", { class: "blank" }, clock(at)),
      h("span", { class: "sr" }, dayOf(at) + " " + clock(at)), h("span", { class: "tag" }));
  });
  strip.append(...dots);

  function show() {
    const choice = choices[Number(slider.value)];
    const text = isBudget ? "at most " + often(choice.alerts_per_day) : choice.threshold.toPrecision(3);
    put(label, text);
    slider.setAttribute("aria-valuetext", text);
    const kept = peaks.map((peak) => peak >= choice.threshold), n = kept.filter(Boolean).length;
    dots.forEach((dot, i) => {
      dot.classList.toggle("dropped", !kept[i]);
      put(dot.querySelector(".tag"), events[i].mark?.kind === "false-alarm" ? (kept[i] ? "false alarm, kept" : "false alarm, gone") : kept[i] ? "kept" : "gone");
    });
    const real = events.filter((event, i) => !kept[i] && event.mark?.kind !== "false-alarm").length;
    put(effect, !events.length ? "No events in the last week to compare with."
      : `Of the last week's ${plural(events.length, "event")}, it would have kept ${n}.` + (real && n < events.length ? ` ${plural(real, "event")} not marked as a false alarm would be gone.` : ""));
    put(doubt, isBudget && choice.vouched_alerts_per_day > choice.alerts_per_day * 1.001
      ? "The video seen so far supports " + often(choice.vouched_alerts_per_day) + " only; the threshold is set for that until more was seen."
      : Number(slider.value) <= now ? "" : "A more sensitive setting reports what was not reported last week; that cannot be shown here.");
    save.hidden = Number(slider.value) === now;
    save.disabled = !mayEdit;
    const line = isBudget ? "alerts_per_day: " + Number(choice.alerts_per_day.toPrecision(3)) : "threshold: " + choice.threshold.toPrecision(4);
    yaml.textContent = "cameras:\n- id: " + camera + "\n  " + line;
    yaml.hidden = save.hidden || mayEdit;
  }

  slider.addEventListener("input", show);
  save.addEventListener("click", async () => {
    const choice = choices[Number(slider.value)];
    save.disabled = true;
    try {
      await ask(cameraPath(camera) + "/settings", { method: "PUT", body: isBudget ? { alerts_per_day: Number(choice.alerts_per_day.toPrecision(3)) } : { threshold: choice.threshold } });
      say("Saved and active.");
      show_(camera, true);
    } catch (problem) {
      save.disabled = false;
      showRefusal(fault, problem);
    }
  });
  show();
  return [
    h("label", { for: "sensitivity", class: "slider" }, h("span", {}, isBudget ? "How many false alerts are acceptable: " : "Threshold: ", label), slider,
      h("span", { class: "row ends" }, h("span", { class: "dim" }, "fewer alerts"), h("span", { class: "grow" }), h("span", { class: "dim" }, "more alerts"))),
    effect, doubt, strip, yaml, fault, h("div", { class: "row actions" }, save),
  ];
}

// ---- faults of the camera itself

function faultList(faults) {
  if (!faults.length) return [h("p", { class: "dim" }, "Nothing: no fault of the camera or its picture is on record.")];
  return [h("ol", { class: "faults" }, faults.map((fault) => {
    const at = new Date(fault.started_at), seconds = (fault.ended_pts_seconds ?? fault.updated_pts_seconds) - fault.started_pts_seconds;
    return h("li", {}, h("strong", {}, dayOf(at) + ", " + clock(at)), " ", fault.state === "open" ? "until now" : "for " + span(seconds), h("p", {}, fault.message));
  }))];
}

// ---- the view

async function show_(id, isForced = false) {
  if (id === shown && !isForced) return;
  shown = id;
  const mine = ++loading, camera = status?.cameras.find((one) => one.id === id);
  if (!camera) return;
  body.replaceChildren(h("p", { class: "dim" }, "Reading …"));
  const optional = (promise) => promise.catch((problem) => (problem.status === 404 ? null : Promise.reject(problem)));
  let settings, budgets, events, faults;
  try {
    [settings, budgets, events, faults] = await Promise.all([
      optional(ask(cameraPath(id))), optional(ask(cameraPath(id) + "/budgets")), optional(weekOf(id)),
      optional(ask("health-events?limit=8&camera=" + encodeURIComponent(id))),
    ]);
  } catch (problem) {
    if (mine === loading) body.replaceChildren(h("p", { class: "fault" }, problem.message), h("button", { type: "button", onclick: () => show_(id, true) }, "Try again"));
    return;
  }
  if (mine !== loading) return;
  const mayEdit = may("operator") && settings?.is_editable === true;
  const why = mayEdit ? null : !may("operator") ? (me.login ? "Log in as an operator to change this." : "Changes need a login (web.users), or the configuration's file.")
    : "The configuration's file cannot be changed from here.";
  words = h("div", {}, describe(camera, settings));
  const saved = (now) => { words.settings = now; fill(); };
  body.replaceChildren(
    panel("What it knows", words),
    settings && panel("Sensitivity", why && h("p", { class: "dim" }, why), ...makeSensitivity(id, settings, budgets?.budgets ?? null, events ?? [], mayEdit)),
    faults && panel("What went wrong lately", ...faultList(faults.events)),
    settings && panel("Zones", why && h("p", { class: "dim" }, why), makeZones(id, settings, { mayEdit, saved })),
    settings && panel("Hours", why && h("p", { class: "dim" }, why), makeHours(id, settings, { mayEdit, saved })),
  );
  words.settings = settings;
}

let wanted = null, isShown = false;

export function enter(query) { isShown = true; wanted = query.get("camera"); fill(); }
export function leave() { isShown = false; }
export function key(name) {
  if (name !== "j" && name !== "k") return false;
  const ids = [...select.options].map((option) => option.value), at = ids.indexOf(shown) + (name === "j" ? 1 : -1);
  if (ids[at]) location.hash = "#/setup?camera=" + encodeURIComponent(ids[at]);
  return true;
}

function fill() {
  if (!isShown || !status) return;
  const ids = status.cameras.map((camera) => camera.id);
  if (ids.join("\n") !== [...select.options].map((option) => option.value).join("\n")) {
    select.replaceChildren(...ids.map((id) => h("option", { value: id }, id)));
  }
  const id = ids.includes(wanted) ? wanted : ids[0];
  if (id === undefined) return body.replaceChildren(h("p", { class: "dim" }, "No camera is configured."));
  select.value = id;
  show_(id);
  const camera = status.cameras.find((one) => one.id === id);
  if (words?.settings !== undefined && camera && shown === id) {
    const next = describe(camera, words.settings), text = next.map((node) => node.textContent).join();
    if (text !== words.dataset.text) { words.dataset.text = text; words.replaceChildren(...next); }
  }
}

on("status", fill);
on("me", () => { shown = null; fill(); });
