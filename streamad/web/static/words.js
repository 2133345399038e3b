// What an operator reads: states, times and scores in words.

export const clock = (date) => date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
export const hourOf = (date) => date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

export const shortHour = (date) => date.toLocaleTimeString([], { hour: "numeric" });

export function dayOf(date) {
  const days = Math.round((new Date().setHours(0, 0, 0, 0) - new Date(date).setHours(0, 0, 0, 0)) / 86400000);
  if (days === 0) return "Today";
  if (days === 1) return "Yesterday";
  const year = date.getFullYear() === new Date().getFullYear() ? {} : { year: "numeric" };
  return date.toLocaleDateString([], { weekday: "long", month: "long", day: "numeric", ...year });
}

export function span(seconds) {
  const s = Math.max(0, seconds ?? 0);
  if (s < 1.5) return "a second";
  if (s < 90) return Math.round(s) + " seconds";
  if (s < 5400) return Math.round(s / 60) + " minutes";
  if (s < 129600) return Math.round(s / 3600) + " hours";
  return Math.round(s / 86400) + " days";
}

/** Days of the week, as the configuration has them, short and long. */
export const DAYS = [["mon", "Mon", "Monday"], ["tue", "Tue", "Tuesday"], ["wed", "Wed", "Wednesday"], ["thu", "Thu", "Thursday"], ["fri", "Fri", "Friday"], ["sat", "Sat", "Saturday"], ["sun", "Sun", "Sunday"]];

export const plural = (n, word) => n.toLocaleString() + " " + word + (n === 1 ? "" : "s");

const QUALITY = {
  corrupt: "damaged in transmission", dark: "too dark", washed_out: "washed out", covered: "covered", frozen: "frozen: it stands still",
  light: "changing with the light", moved: "not where it was: the camera was moved", shaken: "shaking", blurred: "out of focus",
};

const DOUBT_SECONDS = 300;   // a second stream that is down for longer is told of on the tile

/** What clips are kept of, in words; null for cameras with one stream. */
export function clipsOf(camera) {
  const second = camera.evidence_source;
  if (!second) return null;
  if (second.state === "up") return "Kept of the second stream, which is connected.";
  const why = second.message ?? second.reason;
  return "The second stream, which clips are kept of, has been down for " + span(second.down_seconds) + (why ? ": " + why : "")
    + ". Until it is back, clips are of the stream that is watched." + (second.state === "failed" ? " It is not tried again." : "");
}

/** What a camera is doing: [kind, short words, explanation or null]. Kinds: ok, warn, bad, idle, alert. */
export function stateOf(camera) {
  const why = [camera.message ?? camera.reason].filter(Boolean).join("");
  switch (camera.state) {
    case "starting": return ["idle", "Connecting", null];
    case "stale": return ["bad", "No picture", "Connected, but nothing new has come for " + span(camera.last_frame_seconds) + "."];
    case "backoff": return ["bad", "No picture", (why ? why + ". " : "") + "Trying again by itself."];
    case "failed": return ["bad", "Given up", why];
    case "ended": return ["idle", "Ended", null];
    case "stopped": return ["idle", "Stopped", null];
  }
  if (camera.alert === "critical") return ["alert", "Very unusual now", null];
  if (camera.alert === "warning") return ["alert", "Unusual now", null];
  if (camera.is_active === false) return ["idle", "Off duty", camera.schedule ?? "Nothing is reported at this time of the day."];
  if (camera.quality) {
    const what = QUALITY[camera.quality] ?? camera.quality.replace(/_/g, " ");
    return ["bad", "Picture faulty", "The picture is " + what + ". Nothing can be judged in it."];
  }
  if (camera.state === "overloaded") return ["warn", "Not keeping up", "This machine is too slow to judge every frame; some are left out."];
  if (camera.foreign) return ["warn", "Watching with doubt", camera.foreign[0].toUpperCase() + camera.foreign.slice(1) + "."];
  if (camera.excess) return ["warn", "More alerts than expected", camera.excess + "."];
  if (camera.is_scored === false) return ["idle", "Warming up", "There is a picture, but no score yet."];
  if (camera.evidence_source?.down_seconds > DOUBT_SECONDS) return ["warn", "Watching with doubt", clipsOf(camera)];
  if (camera.drift?.drifted) return ["warn", "Watching, normal has changed", camera.drift.message];
  return ["ok", "Watching", null];
}

/** One sentence about all cameras: [kind, text]. */
export function summary(cameras) {
  if (!cameras.length) return ["idle", "No cameras are configured"];
  const groups = { alert: [], bad: [], warn: [], idle: [], ok: [] };
  for (const camera of cameras) groups[stateOf(camera)[0]].push(camera);
  const named = (list) => (list.length > 3 ? plural(list.length, "camera") : list.map((camera) => camera.id).join(", "));
  if (groups.alert.length) return ["alert", "Something unusual: " + named(groups.alert)];
  if (groups.bad.length) return ["bad", "Look at " + named(groups.bad) + ": " + stateOf(groups.bad[0])[1].toLowerCase()];
  if (groups.warn.length) return ["warn", named(groups.warn) + ": " + stateOf(groups.warn[0])[1].toLowerCase()];
  if (groups.ok.length === cameras.length) {
    return ["ok", cameras.length === 1 ? "All is well: " + cameras[0].id + " is watching" : "All is well: " + plural(cameras.length, "camera") + " watching"];
  }
  if (groups.ok.length) return ["ok", plural(groups.ok.length, "camera") + " watching, " + named(groups.idle) + " not"];
  const state = stateOf(cameras[0])[1].toLowerCase();
  return ["idle", "Nothing is being watched: " + (cameras.every((c) => stateOf(c)[1].toLowerCase() === state) ? state : "see below")];
}

/** How far a score is beyond its threshold: [words, where the threshold is on a bar that ends at the score, 0..1]. */
export function certainty(peak, threshold) {
  if (!(threshold > 0)) return [peak > threshold ? "above the threshold" : "below the threshold", 0.6];
  const times = peak / threshold;
  const words = times < 1 ? "below the threshold" : times < 1.15 ? "just above the threshold"
    : times < 1.6 ? "clearly above the threshold" : times < 2.5 ? "far above the threshold"
    : Math.round(times) + " times the threshold";
  return [words, Math.min(1, 1 / times)];
}

/** Where a box is in a picture, in words. */
export function place(box, size) {
  if (!box || !size) return null;
  const x = (box[0] + box[2]) / 2 / size[0], y = (box[1] + box[3]) / 2 / size[1];
  const across = x < 1 / 3 ? "left" : x > 2 / 3 ? "right" : "", down = y < 1 / 3 ? "top" : y > 2 / 3 ? "bottom" : "";
  const words = [down, across].filter(Boolean).join(" ");
  return words ? "at the " + words : "in the middle";
}

export function explained(event) {
  const text = event.explanation ?? "unusual for this place";
  return text[0].toUpperCase() + text.slice(1);
}

export const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".") : "");

export function duration(event) {
  const seconds = (event.ended_pts_seconds ?? event.updated_pts_seconds) - event.started_pts_seconds;
  return event.state === "open" ? "still going on" : "for " + span(seconds);
}

/** Where the line of scores starts: at zero for calibrated scores, at the lowest for others. */
export const base = (scores) => Math.min(...scores, Math.min(...scores) > 0 ? 0 : Infinity);
