// What happened? Events as pictures that play, newest first, by hour; and what people judged of them.

import { ask, may, me, whoAmI } from "./api.js";
import { $, dialog, h, icon, put, say } from "./dom.js";
import { makeDay } from "./day.js";
import { on, status, tell } from "./live.js";
import { certainty, clock, dayOf, duration, explained, hourOf, place, plural } from "./words.js";

const PAGE = 60, MOST = 1000;   // events asked for at once; what the API gives at most
const REFETCH_SECONDS = [2, 12, 30];   // the picture is there at once, the clip after its post-roll
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const MARKS = { reviewed: "Reviewed", "false-alarm": "False alarm" };
const cards = new Map();
let filter = {}, next = null, total = 0, asked = 0, focused = null, playing = null, shownDay = null;

// ---- the frame of the view, made once

const day = makeDay((event) => { focus(event.id); });
const list = h("div", { class: "hours-list" });
const more = h("button", { type: "button", class: "wide", hidden: true, onclick: () => load(true) }, "Show earlier events");
const title = h("h1", { id: "review-title" }, "What happened");
const count = h("p", { class: "dim", role: "status" });
const form = h("form", { class: "filters", "aria-label": "Filter" },
  h("label", {}, "Camera", h("select", { name: "camera" }, h("option", { value: "" }, "All"))),
  h("label", {}, "Day", h("input", { type: "date", name: "day" })),
  h("label", {}, "Severity", h("select", { name: "severity" },
    h("option", { value: "" }, "All"), h("option", { value: "critical" }, "Critical"), h("option", { value: "warning" }, "Warning"))),
  h("label", {}, "Judged", h("select", { name: "mark" },
    h("option", { value: "" }, "All"), h("option", { value: "none" }, "Not yet"), h("option", { value: "reviewed" }, "Reviewed"),
    h("option", { value: "false-alarm" }, "False alarm"))),
  h("button", { type: "button", class: "quiet clear", onclick: () => { location.hash = "#/review"; } }, "Clear the filter"));
$("review").append(h("div", { class: "title" }, title, count), form, day.node, list, more);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("change", () => {
  const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
  location.hash = "#/review" + (query.size ? "?" + query : "");
});

// ---- one event

class Card {
  constructor(event) {
    this.event = event;
    this.image = h("img", { alt: "", loading: "lazy", hidden: true });
    this.box = h("span", { class: "box", hidden: true, "aria-hidden": "true" });
    this.play = h("button", { type: "button", class: "play", onclick: () => this.press() }, icon("M8 5l11 7-11 7z"));
    this.picture = h("div", { class: "picture" }, this.image, this.box, this.play);
    this.time = h("time");
    this.what = h("p", { class: "what" });
    this.where = h("p", { class: "dim" });
    this.sure = h("p", { class: "sure" });
    this.bar = h("div", { class: "bar", "aria-hidden": "true" }, h("i"));
    this.buttons = Object.entries(MARKS).map(([kind, text]) => h("button", {
      type: "button", class: "mark", "data-kind": kind, "aria-pressed": "false", onclick: () => this.mark(kind),
    }, text));
    this.note = h("p", { class: "fault", hidden: true, role: "status" });
    this.head = h("h4", { id: "event-" + event.id }, this.time, " ", h("span", {}, event.camera), h("span", { class: "chip" }));
    this.node = h("article", { class: "event", tabindex: "0", "aria-labelledby": "event-" + event.id, "data-id": event.id },
      this.picture,
      h("div", { class: "body" }, this.head, this.what, this.where, this.bar, this.sure, this.note,
        h("div", { class: "row actions" }, this.buttons,
          h("button", { type: "button", class: "quiet", onclick: () => this.open(), "aria-label": "Details of " + event.camera + " at " + clock(new Date(event.started_at)) }, "Details"))));
    this.item = h("li", {}, this.node);
    this.isPinned = false;   // played by a click, and not only while it is pointed at
    this.node.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse" && !calm.matches) this.start(); });
    this.node.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse" && !this.isPinned && document.activeElement !== this.node) this.stop();
    });
    this.node.addEventListener("focusin", () => {
      focused = event.id;
      showDay(new Date(this.event.started_at), true);
      if (!calm.matches && this.node.matches(":focus-visible")) this.start();
    });
    this.node.addEventListener("focusout", (change) => { if (!this.node.contains(change.relatedTarget)) this.stop(); });
    this.image.addEventListener("load", () => { this.size = frameOf(this.image); this.picture.style.aspectRatio = this.size.join(" / "); this.show(); });
    this.show();
  }

  get folder() { return "/api/v1/events/" + this.event.id + "/evidence/"; }
  get clip() { return (this.event.evidence ?? []).find((name) => /^clip.*\.mp4$/.test(name)); }

  show() {
    const event = this.event, at = new Date(event.started_at), [words, limit] = certainty(event.peak_score, event.threshold);
    const where = place(event.box, this.size), kind = event.mark?.kind ?? "none";
    this.node.dataset.severity = event.severity;
    this.node.dataset.mark = kind;
    this.node.dataset.state = event.state;
    this.time.dateTime = event.started_at;
    put(this.time, clock(at));
    put(this.head.querySelector(".chip"), event.state === "open" ? "now" : event.severity === "critical" ? "critical" : "");
    put(this.what, explained(event));
    put(this.where, [duration(event), where && where + " of the picture"].filter(Boolean).join(", "));
    put(this.sure, words);
    this.bar.style.setProperty("--limit", Math.round(limit * 100) + "%");
    for (const button of this.buttons) button.setAttribute("aria-pressed", String(button.dataset.kind === kind));
    this.play.setAttribute("aria-label", (this.clip ? "Play the clip of " : "No clip yet of ") + event.camera + " at " + clock(at));
    this.play.disabled = !this.clip;
    if (event.evidence?.includes("snapshot.jpg")) {
      const source = this.folder + "snapshot.jpg?" + encodeURIComponent(event.peak_index + "-" + (this.clip ? "color" : "gray"));
      if (!this.image.src.endsWith(source)) this.image.src = source;
      this.image.alt = event.camera + " at " + clock(at) + (where ? ", marked " + where : "");
      this.image.hidden = false;
    }
  }

  start() {
    if (!this.clip || playing === this) return;
    playing?.stop();
    playing = this;
    this.video = h("video", { src: this.folder + this.clip, muted: true, playsinline: true, loop: true, "aria-hidden": "true", tabindex: "-1" });
    this.video.addEventListener("playing", () => { this.picture.classList.add("playing"); this.showBox(); }, { once: true });
    this.picture.insertBefore(this.video, this.box);
    this.play.setAttribute("aria-label", "Stop the clip");
    this.video.play().catch(() => { /* taken away before it began, or a codec that the browser lacks */ });
  }

  stop() {
    if (playing === this) playing = null;
    this.isPinned = false;
    this.video?.removeAttribute("src");
    this.video?.remove();
    this.video = null;
    this.picture.classList.remove("playing");
    this.box.hidden = true;
    this.show();
  }

  /** The button on the picture: a clip that plays because it is pointed at goes on playing, any other starts or stops. */
  press() {
    if (playing === this && this.isPinned) return this.stop();
    this.start();
    this.isPinned = true;
  }

  toggle() { if (playing === this) this.stop(); else this.start(); }

  showBox() {
    const { box } = this.event;
    if (!box || !this.size || !this.video) return;
    const [x0, y0, x1, y1] = box, [width, height] = this.size;
    Object.assign(this.box.style, {
      left: x0 / width * 100 + "%", top: y0 / height * 100 + "%", width: (x1 - x0) / width * 100 + "%", height: (y1 - y0) / height * 100 + "%",
    });
    this.box.hidden = false;
  }

  /** Mark the event, or withdraw the mark that it has. */
  async mark(kind, note = "") {
    if (me.authentication === null) await whoAmI();   // clicked before the server said who is logged in
    if (!may("operator")) return this.fail(cannotMark(this.event.id));
    const wanted = kind === "none" || this.event.mark?.kind === kind && !note ? "none" : kind;
    try {
      const made = await ask("events/" + this.event.id + "/mark", { method: "PUT", body: { kind: wanted, note } });
      this.event = { ...this.event, mark: wanted === "none" ? null : made };
      this.note.hidden = true;
      this.show();
      say(wanted === "none" ? "Mark withdrawn" : MARKS[wanted] + ": " + this.event.camera);
      tell("mark", { event: this.event.id, mark: this.event.mark });
      return true;
    } catch (problem) {
      return this.fail(problem.status === 0 ? "Not marked: the server does not answer." : "Not marked: " + problem.message + ".");
    }
  }

  fail(text) {
    put(this.note, text);
    this.note.hidden = false;
    return false;
  }

  async refetch() {
    try {
      this.event = await ask("events/" + this.event.id);
      this.show();
    } catch { /* the next change brings it */ }
  }

  async open() {
    this.stop();
    let event = this.event, marks = null;
    try { event = await ask("events/" + event.id); marks = event.marks; } catch { /* shown as it was */ }
    this.event = event;
    this.show();
    const at = new Date(event.started_at), has = (name) => (event.evidence ?? []).includes(name);
    const picture = this.clip
      ? h("video", { src: this.folder + this.clip, controls: true, playsinline: true, muted: true, loop: true, autoplay: !calm.matches, "aria-label": "Clip" })
      : has("snapshot.jpg") ? h("img", { src: this.folder + "snapshot.jpg", alt: this.image.alt }) : h("p", { class: "blank" }, "No picture was kept.");
    const trace = h("div", { class: "score" }), history = h("ol", { class: "history" });
    const note = h("input", { name: "note", maxlength: 2000, placeholder: "Why? (optional)", "aria-label": "Note" });
    const fault = h("p", { class: "fault", role: "alert", hidden: true });
    const showMarks = (all) => history.replaceChildren(...(all ?? []).map((mark) => h("li", {},
      h("strong", {}, mark.kind === "none" ? "Withdrawn" : MARKS[mark.kind]), " by " + mark.by + ", " + dayOf(new Date(mark.at)) + " " + clock(new Date(mark.at)),
      mark.note ? h("q", {}, mark.note) : null)));
    showMarks(marks);
    const judge = async (kind) => {
      if (await this.mark(kind, note.value)) {
        note.value = "";
        fault.hidden = true;
        try { showMarks((await ask("events/" + event.id)).marks); } catch { /* it is marked all the same */ }
      } else { put(fault, this.note.textContent); fault.hidden = false; }
    };
    const facts = [
      ["When", dayOf(at) + ", " + clock(at) + " to " + (event.ended_at ? clock(new Date(at.getTime() + 1000 * (event.ended_pts_seconds - event.started_pts_seconds))) : "now")],
      ["Where", place(event.box, this.size) ?? "not known"], ["Zone", event.zone],
      ["How sure", certainty(event.peak_score, event.threshold)[0] + " (" + event.peak_score.toPrecision(3) + " of " + event.threshold.toPrecision(3) + ")"],
      ["Model", event.model],
    ].filter(([, text]) => text);
    const box = dialog("Event of " + event.camera,
      h("h2", {}, event.camera + ": " + explained(event)), picture, trace,
      h("dl", { class: "facts" }, facts.map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text)))),
      h("h3", {}, "Judgment"), marks?.length ? null : h("p", { class: "dim" }, "Nobody has judged it yet."), history, note, fault,
      h("div", { class: "row actions" },
        h("button", { type: "button", onclick: () => judge("reviewed") }, "Reviewed"),
        h("button", { type: "button", onclick: () => judge("false-alarm") }, "False alarm"),
        h("button", { type: "button", class: "quiet", onclick: () => judge("none") }, "Withdraw"),
        h("span", { class: "grow" }),
        h("a", { class: "quiet", href: "/api/v1/events/" + event.id + "/evidence.zip", download: true }, "Download all")),
      h("p", { class: "dim" }, "A false alarm counts as normal when thresholds are set, and is learned from. Every mark stays on record."));
    if (has("trace.csv")) drawTrace(trace, this.folder + "trace.csv");
    return box;
  }
}

/** Size of the frame in a snapshot, which has a strip with the time below it (streamad/visual/overlay.py: with_footer). */
function frameOf(image) {
  const { naturalWidth: width, naturalHeight: height } = image;
  return [width, height - Math.max(14, Math.round(height / 1.062 * 0.062))];
}

function cannotMark(id) {
  if (me.login) return "To mark events, log in with the role operator.";
  return "Marking needs a login (web.users). On the command line: streamad events mark camera.yaml " + id + " reviewed";
}

async function drawTrace(node, address) {
  try {
    const rows = (await (await fetch(address)).text()).trim().split("\n").slice(1).map((row) => row.split(","))
      .map((row) => [Number(row[1]), row[2] === "" ? NaN : Number(row[2]), Number(row[3])]).filter((row) => Number.isFinite(row[1]));
    if (rows.length < 2) return;
    const begin = rows[0][0], length = rows.at(-1)[0] - begin || 1;
    const values = rows.flatMap((row) => [row[1], row[2]]).filter(Number.isFinite), low = Math.min(...values), high = Math.max(...values);
    const x = (row) => ((row[0] - begin) / length * 600).toFixed(1), y = (value) => (96 - (value - low) / (high - low || 1) * 88).toFixed(1);
    const path = (column) => rows.map((row, i) => (i ? "L" : "M") + x(row) + " " + y(row[column])).join("");
    node.append(h("svg", { viewBox: "0 0 600 100", preserveAspectRatio: "none", role: "img", "aria-label": "Score during the clip, with the threshold dashed" },
      h("path", { class: "line", d: path(1) }), h("path", { class: "limit", d: path(2) })));
  } catch { /* the picture matters more */ }
}

// ---- the list

const dayBegin = (date) => { const begin = new Date(date); begin.setHours(0, 0, 0, 0); return begin; };

function insert(card) {
  const at = new Date(card.event.started_at), hour = new Date(at); hour.setMinutes(0, 0, 0);
  const key = String(hour.getTime());
  let group = list.querySelector(`[data-hour="${key}"]`);
  if (!group) {
    const begin = dayBegin(at);
    let section = list.querySelector(`[data-day="${begin.getTime()}"]`);
    if (!section) {
      section = h("section", { "data-day": begin.getTime(), "aria-label": dayOf(begin) }, h("h2", {}, dayOf(begin)));
      const later = [...list.querySelectorAll("[data-day]")].find((other) => Number(other.dataset.day) < begin.getTime());
      list.insertBefore(section, later ?? null);
    }
    group = h("div", { "data-hour": key }, h("h3", {}, hourOf(hour)), h("ol"));
    const later = [...section.querySelectorAll("[data-hour]")].find((other) => Number(other.dataset.hour) < hour.getTime());
    section.insertBefore(group, later ?? null);
  }
  const items = group.querySelector("ol"), later = [...items.children].find((item) => item.firstChild.dataset.id < card.event.id);
  items.insertBefore(card.item, later ?? null);
  cards.set(card.event.id, card);
}

const sorted = () => [...list.querySelectorAll(".event")].map((node) => cards.get(node.dataset.id));

function showCount() {
  put(count, total ? plural(total, "event") + (cards.size < total ? ", the newest " + cards.size + " shown" : "") : "");
  list.querySelector(".empty")?.remove();
  if (!cards.size) {
    const isFiltered = Object.keys(filter).length > 0;
    list.append(h("div", { class: "empty" }, icon("M5 13l4 4L19 7"), h("p", {}, isFiltered ? "No event fits this filter." : "Nothing unusual has happened yet."),
      h("p", { class: "dim" }, isFiltered ? "Clear it to see all." : "Events appear here by themselves.")));
  }
}

/** Take away every other card. Those that stay are the same elements, so that a list that is read again, as after each
 * lost connection, keeps the focus, the clip that plays and what a card says. */
function keep(ids) {
  for (const [id, card] of cards) if (!ids.has(id)) { card.stop(); card.item.remove(); cards.delete(id); }
  for (const group of list.querySelectorAll("[data-hour]")) if (!group.querySelector(".event")) group.remove();
  for (const child of [...list.children]) if (!child.querySelector(".event")) child.remove();
}

async function load(isMore = false) {
  const mine = ++asked, limit = isMore ? PAGE : Math.min(Math.max(PAGE, cards.size), MOST);
  const query = new URLSearchParams({ limit: String(limit) });
  for (const name of ["camera", "severity", "mark"]) if (filter[name]) query.set(name, filter[name]);
  if (filter.day) {
    const begin = new Date(filter.day + "T00:00"), end = new Date(begin); end.setDate(end.getDate() + 1);
    query.set("since", begin.toISOString());
    query.set("until", end.toISOString());
  }
  if (isMore && next) query.set("cursor", next);
  if (!isMore) list.setAttribute("aria-busy", "true");
  more.disabled = true;
  let answer;
  try { answer = await ask("events?" + query); } catch (problem) {
    if (mine !== asked) return;
    list.removeAttribute("aria-busy");
    more.disabled = false;
    if (isMore) return say("Earlier events could not be read.");
    cards.clear();
    list.replaceChildren(h("div", { class: "empty" }, h("p", {}, problem.status === 401 ? "Log in to see events."
      : problem.status === 404 ? "No events are kept here (events.path)." : "The events could not be read: " + problem.message)),
      h("button", { type: "button", class: "wide", onclick: () => load() }, "Try again"));
    return;
  }
  if (mine !== asked) return;
  list.removeAttribute("aria-busy");
  if (!isMore) keep(new Set(answer.events.map((event) => event.id)));
  for (const event of answer.events) {
    const card = cards.get(event.id);
    if (card) { card.event = event; card.show(); } else insert(new Card(event));
    if (Date.now() - new Date(event.updated_at) < 60000) refetchSoon(event.id);
  }
  next = answer.next;
  total = answer.total;
  more.hidden = next === null;
  more.disabled = false;
  showCount();
  const newest = answer.events[0];
  if (!isMore) showDay(filter.day ? new Date(filter.day + "T12:00") : newest ? new Date(newest.started_at) : new Date(), false, true);
}

/** Show the day of a time in the timeline, scrolled to it. */
function showDay(date, isMoved, isForced = false) {
  const begin = dayBegin(date);
  if (isForced || shownDay !== begin.getTime()) {
    shownDay = begin.getTime();
    const cameras = filter.camera ? [filter.camera] : (status?.cameras ?? []).map((camera) => camera.id);
    day.show(begin, cameras, sorted().map((card) => card.event)).then(() => day.scrollTo(date));
  } else if (isMoved) day.scrollTo(date);
}

function focus(id) {
  const card = cards.get(id);
  if (!card) return;
  card.node.focus({ focusVisible: true });
  card.node.scrollIntoView({ block: "nearest" });
}

/** Keys of the review; returns whether the key was used. */
export function key(name) {
  const all = sorted(), at = all.findIndex((card) => card.event.id === focused);
  if (name === "j" || name === "k") {
    const to = name === "j" ? Math.min(all.length - 1, at + 1) : Math.max(0, at - 1);
    if (!all.length) return false;
    if (name === "j" && at === all.length - 1 && next) load(true).then(() => key("j")); else focus(all[to].event.id);
    return true;
  }
  const card = all[at];
  if (!card) return false;
  if (name === " ") card.toggle();
  else if (name === "r") card.mark("reviewed");
  else if (name === "f") card.mark("false-alarm");
  else if (name === "u") card.mark("none");
  else if (name === "Enter") card.open();
  else return false;
  return true;
}

let isShown = false, isStale = true;

export function enter(query) {
  const wanted = {};
  for (const name of ["camera", "day", "severity", "mark"]) if (query.get(name)) wanted[name] = query.get(name);
  const isNew = JSON.stringify(wanted) !== JSON.stringify(filter);
  filter = wanted;
  fillCameras();
  for (const name of ["camera", "day", "severity", "mark"]) form.elements[name].value = filter[name] ?? "";
  form.querySelector(".clear").hidden = !Object.keys(filter).length;
  isShown = true;
  if (isNew || isStale) { isStale = false; load(); }
  if (query.get("event")) openEvent(query.get("event"));
}

/** Open the event that a notification leads to, whether or not the list has it. */
async function openEvent(id) {
  const here = location.hash;
  for (const other of document.querySelectorAll("dialog:not(.login)")) other.close();
  let box;
  try {
    const card = cards.get(id) ?? new Card(await ask("events/" + encodeURIComponent(id)));
    box = await card.open();
  } catch (problem) {
    if (problem.status === 401) return;   // asked again after the login
    box = dialog("Event", h("h2", {}, "No such event"), h("p", {}, problem.status === 404 ? "It is no longer kept, or not yet." : problem.message));
  }
  box.addEventListener("close", () => {
    if (location.hash === here) history.replaceState(null, "", "#/review");
    focus(id);
  });
}

export function leave() { isShown = false; playing?.stop(); }

function fillCameras() {
  const select = form.elements.camera, known = new Set([...select.options].map((option) => option.value));
  const ids = (status?.cameras ?? []).map((camera) => camera.id);
  if (filter.camera) ids.push(filter.camera);
  for (const id of ids) if (!known.has(id)) { known.add(id); select.append(h("option", { value: id }, id)); }
}

/** Read an event again that was still going on, or whose evidence was still being written. */
function refetchSoon(id) {
  for (const seconds of REFETCH_SECONDS) setTimeout(() => { if (isShown) cards.get(id)?.refetch(); }, seconds * 1000);
}

function fits(event) {
  if (filter.camera && event.camera !== filter.camera || filter.severity && event.severity !== filter.severity) return false;
  if (filter.mark && filter.mark !== "none") return false;
  return !filter.day || dayBegin(new Date(event.started_at)).getTime() === new Date(filter.day + "T00:00").getTime();
}

on("event", ({ kind, event }) => {
  if (!isShown) { isStale = true; return; }
  const card = cards.get(event.id);
  if (card) { card.event = { ...card.event, ...event }; card.show(); }
  else if (kind === "opened" && fits(event)) {
    total += 1;
    const made = new Card({ ...event, evidence: [], mark: null });
    insert(made);
    showCount();
    say("New event at " + event.camera + ": " + explained(event));
    showDay(new Date(event.started_at), false, true);
  }
  if (kind !== "updated") refetchSoon(event.id);
});

on("mark", ({ event, mark }) => {
  const card = cards.get(event);
  if (card) { card.event = { ...card.event, mark }; card.show(); }
});

// Why somebody could not mark is no longer true once they are logged in.
on("me", () => { if (may("operator")) for (const card of cards.values()) card.note.hidden = true; });
on("status", fillCameras);
on("connection", (state) => { if (state === "live" && isShown) load(); else if (state === "live") isStale = true; });
