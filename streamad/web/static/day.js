// The timeline of one day: highest scores of every minute, and the events among them.

import { ask, cameraPath } from "./api.js";
import { h } from "./dom.js";
import { base, certainty, clock, dayOf, shortHour } from "./words.js";

const MINUTES = 1440, HEIGHT = 72, BASE = 54, LIMIT = 18, GAP = 3;

/** Create the timeline. `pick(event)` is called when an event in it is chosen. */
export function makeDay(pick) {
  const drawing = h("svg", { viewBox: `0 0 ${MINUTES} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const hours = h("div", { class: "hours", "aria-hidden": "true" });
  const marks = h("div", { class: "marks" });
  const inner = h("div", { class: "inner" }, drawing, marks, hours);
  const scroll = h("div", { class: "day", tabindex: "0", role: "region", "aria-label": "Timeline", "data-keys": true }, inner);
  const caption = h("p", { class: "caption" });
  let drawn = 0;

  /** Show a day. `begin`: local midnight; `cameras`: their ids; `events`: those to mark. */
  async function show(begin, cameras, events) {
    const mine = ++drawn;
    const end = new Date(begin); end.setDate(end.getDate() + 1);
    const minutes = (end - begin) / 60000;       // 1380 or 1500 when the clocks change
    const x = (ms) => (ms - begin) / 60000 * MINUTES / minutes;
    scroll.setAttribute("aria-label", "Scores and events of " + dayOf(begin));
    hours.replaceChildren(...Array.from({ length: 24 }, (_, hour) => {
      const at = new Date(begin); at.setHours(hour);
      const label = h("span", {}, shortHour(at));
      label.style.left = x(at) / MINUTES * 100 + "%";
      return label;
    }));
    marks.replaceChildren(...events.filter((event) => new Date(event.started_at) >= begin && new Date(event.started_at) < end).map((event) => {
      const at = new Date(event.started_at);
      const mark = h("button", {
        type: "button", tabindex: "-1", class: event.severity, "data-mark": event.mark?.kind ?? "none",
        "aria-label": event.camera + ", " + clock(at) + ", " + certainty(event.peak_score, event.threshold)[0],
        title: event.camera + " " + clock(at), onclick: () => pick(event),
      });
      mark.style.left = x(at) / MINUTES * 100 + "%";
      return mark;
    }));
    const range = "/timeline?step=60&since=" + encodeURIComponent(begin.toISOString()) + "&until=" + encodeURIComponent(end.toISOString());
    const answers = await Promise.allSettled(cameras.slice(0, 32).map((id) => ask(cameraPath(id) + range)));
    if (mine !== drawn) return;
    const high = new Map();   // minute → highest share of the way from a camera's usual scores to its threshold
    for (const answer of answers) {
      if (answer.status !== "fulfilled") continue;
      const points = answer.value.points.filter(([, , threshold]) => threshold !== null);
      const low = base(points.map(([, score]) => score));
      for (const [at, score, threshold] of points) {
        const share = threshold > low ? (score - low) / (threshold - low) : 1;
        high.set(at, Math.max(high.get(at) ?? 0, Math.min(1.5, share)));
      }
    }
    let line = "", area = "", before = null;
    const y = (share) => (BASE - share * (BASE - LIMIT)).toFixed(1);
    for (const [at, share] of [...high].sort((a, b) => a[0] - b[0])) {
      const to = x(at * 1000).toFixed(1);
      if (before === null || at - before > GAP * 60) {
        if (before !== null) area += "V" + BASE + "Z";
        line += "M" + to + " " + y(share);
        area += "M" + to + " " + BASE + "L" + to + " " + y(share);
      } else { line += "L" + to + " " + y(share); area += "L" + to + " " + y(share); }
      before = at;
    }
    if (before !== null) area += "L" + (x(before * 1000) + 1).toFixed(1) + " " + y(high.get(before)) + "V" + BASE + "Z";
    const now = x(Date.now());
    drawing.replaceChildren(
      h("path", { class: "area", d: area }), h("path", { class: "line", d: line }),
      h("line", { class: "limit", x1: 0, x2: MINUTES, y1: LIMIT, y2: LIMIT }),
      now > 0 && now < MINUTES ? h("line", { class: "now", x1: now, x2: now, y1: 0, y2: BASE }) : "",
    );
    caption.textContent = dayOf(begin) + ". " + (high.size
      ? "The line is how close the scores came to the threshold (dashed)." : "Scores are kept for 24 hours while streamad runs; there are none of this day.");
  }

  function scrollTo(date) {
    const begin = new Date(date); begin.setHours(0, 0, 0, 0);
    const share = (date - begin) / 86400000;
    scroll.scrollTo({ left: share * inner.scrollWidth - scroll.clientWidth / 2 });
  }

  return { node: h("div", { class: "timeline" }, caption, scroll), show, scrollTo };
}
