// When a camera raises alerts, and when it is watched with another calibration.

import { ask, cameraPath } from "./api.js";
import { h, icon, note, put, say, showRefusal } from "./dom.js";
import { DAYS } from "./words.js";

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** What the API is sent: days are left out where all of them are meant. */
const sent = (hours) => hours.map(({ start, end, days }) => (days.length === DAYS.length ? { start, end } : { start, end, days }));
const bodyOf = ({ time_zone, active, profiles }) => ({
  time_zone: time_zone || null, active: sent(active), profiles: profiles.map((profile) => ({ ...profile, hours: sent(profile.hours) })),
});

/** The time now by the clock of a zone, "14:03"; null if the browser does not know the zone. */
function timeIn(zone, settings) {
  if (!zone) {
    const [, sign, hours, minutes] = settings.local_time.match(/([+-])(\d\d):(\d\d)$/) ?? [null, "+", 0, 0];
    return new Date(Date.now() + (sign === "-" ? -1 : 1) * (hours * 60 + Number(minutes)) * 60000).toISOString().slice(11, 16);
  }
  try { return new Date().toLocaleTimeString("en-GB", { timeZone: zone, hour: "2-digit", minute: "2-digit" }); } catch { return null; }
}

/** The editor of a camera's hours and profiles. `saved(settings)` is called after they were stored. */
export function makeHours(camera, settings, { mayEdit, saved }) {
  let draft = null;
  const fault = h("div", { class: "fault", role: "alert", hidden: true });
  const save = h("button", { type: "button", class: "primary", onclick: store }, "Save the hours");
  const undo = h("button", { type: "button", class: "quiet", onclick: () => { reset(); node.querySelector("button, input")?.focus(); } }, "Discard changes");
  const bar = h("div", { class: "row actions", hidden: true }, save, undo);
  const when = h("p", {}), content = h("div", { class: "hours" });
  const zone = h("input", { list: "time-zones", id: "time-zone", disabled: !mayEdit, placeholder: "that of the machine", autocomplete: "off", spellcheck: "false", oninput: () => { draft.time_zone = zone.value.trim(); change(); } });
  const zones = h("datalist", { id: "time-zones" }, (Intl.supportedValuesOf?.("timeZone") ?? []).map((name) => h("option", { value: name })));
  const clock = h("p", { class: "dim", id: "time-zone-clock" });
  const node = h("div", {}, when, content,
    h("div", { class: "field" }, h("label", {}, "Time zone of all hours", zone), zones, clock, note(zone, "time_zone", "time-zone-clock")), fault, bar);

  function tick() {
    const time = timeIn(draft.time_zone, settings);
    put(clock, time ? "It is " + time + (draft.time_zone ? " there." : " by the clock of the machine that runs streamad.") : "");
  }
  const timer = setInterval(() => { if (node.isConnected) tick(); else clearInterval(timer); }, 5000);

  function change() {
    bar.hidden = !mayEdit || same(bodyOf(draft), bodyOf(settings));
    put(when, draft.active.length ? "Alerts are raised in these hours only. At other times the camera is watched, and nothing is reported." : "Alerts are raised at every hour of every day.");
    tick();
  }

  function reset() {
    draft = structuredClone({ time_zone: settings.time_zone ?? "", active: settings.active, profiles: settings.profiles });
    zone.value = draft.time_zone;
    fault.hidden = true;
    show();
  }

  /** One row: from, to, and the days on which these hours begin. */
  function row(list, index, place, what) {
    const hours = list[index], title = what + " " + (index + 1), next = h("p", { class: "dim" });
    const control = (key, label) => {
      const input = h("input", { type: "time", value: hours[key], disabled: !mayEdit, "aria-label": title + ": " + label.toLowerCase(), oninput: () => { hours[key] = input.value; told(); change(); } });
      return h("div", { class: "field" }, h("label", {}, label, input), note(input, place + "." + key));
    };
    const told = () => put(next, !hours.start || !hours.end ? "" : hours.start === hours.end ? "24 hours, until the next day" : hours.end < hours.start ? "ends on the next day" : "");
    told();
    const days = h("div", { class: "days", role: "group", "aria-label": title + ": days on which they begin" }, DAYS.map(([key, short, long]) => {
      const button = h("button", { type: "button", disabled: !mayEdit, "aria-label": long, "aria-pressed": String(hours.days.includes(key)), onclick: () => {
        const has = new Set(hours.days);
        if (!has.delete(key)) has.add(key);
        hours.days = DAYS.map(([name]) => name).filter((name) => has.has(name));
        button.setAttribute("aria-pressed", String(has.has(key)));
        change();
      } }, short);
      return button;
    }));
    const remove = h("button", { type: "button", class: "icon", disabled: !mayEdit, "aria-label": "Remove " + title.toLowerCase(), onclick: () => { list.splice(index, 1); show(); content.querySelector("button")?.focus(); } }, icon("M6 6l12 12M18 6 6 18"));
    return h("li", {}, h("div", { class: "times" }, control("start", "From"), control("end", "To"), remove), next, days, note(days, place + ".days"));
  }

  function rows(list, place, what) {
    const add = h("button", { type: "button", disabled: !mayEdit, onclick: () => {
      list.push({ start: "22:00", end: "06:00", days: DAYS.map(([key]) => key) });
      show();
      content.querySelector(`[data-rows="${place}"] li:last-of-type input`)?.focus();
    } }, list === draft.active && !list.length ? "Set hours" : "Add hours");
    return h("div", { class: "rows", "data-rows": place }, h("ol", {}, list.map((_, index) => row(list, index, place + "." + index, what))), note(null, place), mayEdit && h("div", { class: "row" }, add));
  }

  function show() {
    content.replaceChildren(rows(draft.active, "active", "Hours"), h("h3", {}, "Other calibrations for some hours"),
      draft.profiles.length ? h("p", { class: "dim" }, "At other times, the camera has its own calibration. Where the hours of two profiles overlap, the first one is used.")
        : h("p", { class: "dim" }, "None. One for the night, for example, is made with ", h("code", {}, "streamad calibrate"), " and named in the configuration's file; its hours can then be changed here."),
      ...draft.profiles.map((profile, index) => {
        const name = h("input", { value: profile.name, maxlength: 64, disabled: !mayEdit, onchange: () => {
          if (NAME.test(name.value) && !draft.profiles.some((other) => other !== profile && other.name === name.value)) { profile.name = name.value; change(); }
          else { name.value = profile.name; say("A name has letters, digits, dots and dashes, and only one profile has it."); }
        } });
        const place = "profiles." + index;
        return h("section", { class: "profile", "aria-label": "Profile " + profile.name },
          h("div", { class: "field" }, h("label", {}, "Profile", name), h("p", { class: "dim" }, "Calibration: " + profile.calibration), note(name, place + ".name"), note(null, place + ".calibration")),
          rows(profile.hours, place + ".hours", "Hours of " + profile.name));
      }));
    change();
  }

  async function store() {
    const body = bodyOf(draft), now = bodyOf(settings);
    for (const key of Object.keys(body)) if (same(body[key], now[key])) delete body[key];
    save.disabled = true;
    try {
      Object.assign(settings, await ask(cameraPath(camera) + "/settings", { method: "PUT", body }));
      reset();
      say("The hours are saved and active.");
      saved(settings);
    } catch (problem) {
      showRefusal(fault, problem, { within: node });
    } finally { save.disabled = false; }
  }

  reset();
  return node;
}

/** When alerts are raised, in words. */
export function hoursInWords(settings) {
  const list = settings.active.map(({ start, end, days }) => {
    const some = DAYS.filter(([key]) => days.includes(key)).map(([, short]) => short);
    const names = some.join() === "Mon,Tue,Wed,Thu,Fri" ? " from Monday to Friday" : some.join() === "Sat,Sun" ? " on Saturday and Sunday" : " on " + some.join(", ");
    return (start === end ? "all day from " + start : start + " to " + end) + (days.length === DAYS.length ? " every day" : names);
  });
  return list.length ? "Alerts are raised " + list.join(" and ") + (settings.time_zone ? ", by the clock of " + settings.time_zone : "") + "." : null;
}
