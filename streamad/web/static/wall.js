// Is all well? One tile a camera: its picture, its state in words, the scores of the last minutes.

import { ask, cameraPath, request } from "./api.js";
import { $, h, icon, put, say } from "./dom.js";
import { on, status } from "./live.js";
import { base, clipsOf, plural, sentence, span, stateOf, summary } from "./words.js";

const MINUTES = 30, STEP = 10, PICTURE_SECONDS = 1;
const tiles = new Map();
const hasPictures = document.body.dataset.preview === "yes";
let chosen = null, isShown = true;

const observer = new IntersectionObserver((entries) => {
  for (const entry of entries) entry.target.tile.isVisible = entry.isIntersecting;
});

class Tile {
  constructor(id) {
    this.id = id;
    this.points = new Map();   // period → score, threshold
    this.isVisible = false;
    this.isLoading = false;
    this.hasMap = false;
    this.image = h("img", { alt: "Live picture of " + id, hidden: true });
    this.blank = h("p", { class: "blank" }, "No picture yet");
    this.state = h("span", { class: "state" });
    this.why = h("p", { class: "why", hidden: true });
    this.line = h("path", { class: "line" });
    this.over = h("path", { class: "over" });
    this.limit = h("line", { class: "limit", x1: 0, x2: 300, y1: 12, y2: 12 });
    this.trace = h("svg", { class: "trace", viewBox: "0 0 300 40", preserveAspectRatio: "none", role: "img" },
      this.line, this.over, this.limit);
    this.map = h("button", { type: "button", class: "quiet", "aria-pressed": "false", onclick: () => this.toggleMap() }, "Anomaly map");
    this.large = h("button", { type: "button", class: "quiet", "aria-label": "Enlarge " + id, onclick: () => this.enlarge() },
      icon("M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5"));
    this.facts = h("dl");
    this.more = h("details", {}, h("summary", {}, "More about " + id), this.facts);
    this.picture = h("div", { class: "picture" }, this.image, this.blank);
    this.node = h("article", { class: "tile", "aria-label": "Camera " + id, tabindex: "-1" },
      this.picture,
      h("div", { class: "row" }, h("h2", {}, id), this.state),
      this.why, this.trace,
      h("div", { class: "row actions" }, hasPictures && this.map, h("a", { class: "quiet", href: "#/review?camera=" + encodeURIComponent(id) }, "Events"), h("span", { class: "grow" }), this.large),
      this.more);
    this.node.tile = this;
    observer.observe(this.node);
    this.loadTrace();
  }

  async loadTrace() {
    try {
      const since = new Date(Date.now() - MINUTES * 60000).toISOString();
      const answer = await ask(cameraPath(this.id) + "/timeline?step=" + STEP + "&since=" + encodeURIComponent(since));
      for (const [at, score, threshold] of answer.points) this.points.set(at, [score, threshold]);
      this.drawTrace();
    } catch { /* the line grows from now on */ }
  }

  show(camera) {
    const [kind, words, why] = stateOf(camera);
    this.node.dataset.kind = kind;
    put(this.state, words);
    put(this.why, why ?? "");
    this.why.hidden = !why;
    if (camera.score !== null && camera.threshold !== null) {
      const at = Math.floor(Date.now() / 1000 / STEP) * STEP, known = this.points.get(at);
      this.points.set(at, [Math.max(known?.[0] ?? -Infinity, camera.score), camera.threshold]);
    }
    if (this.isVisible) this.drawTrace();
    if (this.more.open) this.showFacts(camera);
    this.camera = camera;
  }

  drawTrace() {
    const end = Math.floor(Date.now() / 1000), begin = end - MINUTES * 60;
    const points = [...this.points].filter(([at]) => at >= begin).sort((a, b) => a[0] - b[0]);
    if (this.points.size > 2 * MINUTES * 60 / STEP) this.points = new Map(points);
    const low = base(points.map(([, [score]]) => score));
    const y = (score, threshold) => 40 - 28 * Math.min(1.4, Math.max(0, (score - low) / (threshold - low || 1)));
    let path = "", over = "", before = -Infinity, wasOver = false, highest = false;
    for (const [at, [score, threshold]] of points) {
      const to = (300 * (at - begin) / (MINUTES * 60)).toFixed(1) + " " + y(score, threshold).toFixed(1);
      const isGap = at - before > 3 * STEP, isOver = threshold !== null && score >= threshold;
      path += (isGap ? "M" : "L") + to;
      if (isOver) over += (isGap || !wasOver ? "M" + to + "h1" : "L" + to);
      highest ||= isOver;
      wasOver = isOver;
      before = at;
    }
    this.line.setAttribute("d", path);
    this.over.setAttribute("d", over);
    this.limit.toggleAttribute("hidden", !points.length);
    this.trace.setAttribute("aria-label", !points.length ? "No scores in the last " + MINUTES + " minutes"
      : "Scores of the last " + MINUTES + " minutes: " + (highest ? "above the threshold at times" : "below the threshold throughout"));
  }

  showFacts(camera) {
    const facts = [
      ["Newest picture", camera.last_frame_seconds === null ? "never" : camera.last_frame_seconds < 2 ? "now" : span(camera.last_frame_seconds) + " ago"],
      ["Right now", camera.score === null ? "not judged" : !camera.recurrence ? "judged"
        : camera.recurrence.not_seen ? "higher than anything in the normal video: " + camera.recurrence.text : "as in normal video " + camera.recurrence.text],
      ["Learned", camera.learning ? sentence(camera.learning) : null],
      ["False alerts", camera.budget ? sentence(camera.budget) : camera.threshold === null ? null : "The requested budget is reached."],
      ["Is normal still normal?", camera.drift ? camera.drift.message ?? (camera.drift.drifted === null ? "Not enough seen yet." : "Yes.") : null],
      ["Speed", camera.fps.toFixed(1) + " frames a second" + (camera.dropped ? ", " + camera.dropped.toLocaleString() + " left out so far" : "")],
      ["Clips", clipsOf(camera)],
      ["Reconnected", camera.reconnects ? plural(camera.reconnects, "time") : null],
    ].filter(([, text]) => text);
    this.facts.replaceChildren(...facts.map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text))));
  }

  async loadPicture() {
    if (this.isLoading || !this.isVisible) return;
    this.isLoading = true;
    try {
      const answer = await request(cameraPath(this.id) + "/preview.jpg" + (this.hasMap ? "?map=1" : ""));
      const address = URL.createObjectURL(await answer.blob()), old = this.image.src;
      this.image.src = address;
      await this.image.decode();
      if (old) URL.revokeObjectURL(old);
      this.image.hidden = false;
      this.blank.hidden = true;
    } catch (problem) {
      if (problem.status === 404) { this.image.hidden = true; this.blank.hidden = false; }
    } finally { this.isLoading = false; }
  }

  toggleMap() {
    this.hasMap = !this.hasMap;
    this.map.setAttribute("aria-pressed", String(this.hasMap));
    this.loadPicture();
  }

  enlarge() {
    const isLarge = this.node.classList.toggle("large");
    document.body.classList.toggle("has-large", isLarge);
    this.large.setAttribute("aria-label", (isLarge ? "Back to all cameras from " : "Enlarge ") + this.id);
    for (const other of tiles.values()) if (other !== this) other.node.classList.remove("large");
    this.node.scrollIntoView({ block: "nearest" });
  }
}

function show(document_) {
  const known = new Set(document_.cameras.map((camera) => camera.id));
  for (const [id, tile] of tiles) if (!known.has(id)) { observer.unobserve(tile.node); tile.node.remove(); tiles.delete(id); }
  for (const ghost of $("cameras").querySelectorAll(".ghost")) ghost.remove();
  for (const camera of document_.cameras) {
    if (!tiles.has(camera.id)) {
      tiles.set(camera.id, new Tile(camera.id));
      $("cameras").append(tiles.get(camera.id).node);
    }
    tiles.get(camera.id).show(camera);
  }
  $("cameras").dataset.count = Math.min(document_.cameras.length, 9);
  const [kind, text] = summary(document_.cameras);
  put($("wall-title"), text);
  $("wall-title").dataset.kind = kind;
  put($("facts"), "Running for " + span(document_.uptime_seconds) + ". " + (document_.events.total
    ? plural(document_.events.total, "event") + " so far." : "No events so far."));
  const engine = document_.engine;
  put($("engine"), "· " + engine.name + " on " + engine.device + " · " + document_.models.map((model) => model.name).join(", "));
}

/** Keys of the wall; returns whether the key was used. */
export function key(name) {
  const list = [...tiles.values()];
  if (!list.length) return false;
  const at = list.indexOf(chosen);
  if (name === "j" || name === "k") {
    chosen = list[name === "j" ? Math.min(list.length - 1, at + 1) : Math.max(0, at - 1)];
    chosen.node.focus();
    say(chosen.id + ": " + chosen.state.textContent);
  } else if (name === "m" && chosen) chosen.toggleMap();
  else if (name === "f" || name === "Enter") (chosen ?? list[0]).enlarge();
  else return false;
  return true;
}

export function enter() { isShown = true; loadPictures(); }
export function leave() { isShown = false; }

function loadPictures() {
  if (!hasPictures || !isShown || document.hidden || !status) return;
  for (const tile of tiles.values()) tile.loadPicture();
}

on("status", show);
on("connection", (state) => { document.body.classList.toggle("lost", state === "lost"); });
setInterval(loadPictures, PICTURE_SECONDS * 1000);
