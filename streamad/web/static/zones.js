// Zones drawn on the picture: by pointer, by keyboard, or as numbers.

import { ask, cameraPath, request } from "./api.js";
import { h, icon, note, put, say, showRefusal } from "./dom.js";

const NEAR = 0.03;   // a tap so close to the first corner closes the polygon
const STEP = 0.01;
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;
const round = (value) => Math.round(Math.min(1, Math.max(0, value)) * 1000) / 1000;

/** The editor of a camera's zones. `saved(settings)` is called after they were stored. */
export function makeZones(camera, settings, { mayEdit, saved }) {
  let zones = structuredClone(settings.zones), chosen = zones.length ? 0 : -1, drawing = null, isChanged = false;
  const image = h("img", { alt: "Picture of " + camera, hidden: true });
  const shapes = h("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" });
  const corners = h("div", { class: "corners" });
  const board = h("div", { class: "picture board" }, image, shapes, corners);
  const list = h("ul", { class: "zone-list" }), form = h("div", { class: "zone-form" });
  const hint = h("p", { class: "dim" }), fault = h("div", { class: "fault", role: "alert", hidden: true });
  const add = (type) => h("button", { type: "button", disabled: !mayEdit, onclick: () => begin(type) }, type === "include" ? "Watch only an area" : "Leave out an area");
  const save = h("button", { type: "button", class: "primary", onclick: store }, "Save the zones");
  const undo = h("button", { type: "button", class: "quiet", onclick: reset }, "Discard changes");
  const bar = h("div", { class: "row actions", hidden: true }, save, undo);

  async function load() {
    const answer = await request(cameraPath(camera) + "/preview.jpg");
    image.src = URL.createObjectURL(await answer.blob());
    await image.decode();
    board.style.aspectRatio = image.naturalWidth + " / " + image.naturalHeight;
    image.hidden = false;
  }
  // The first picture may be gray: decoders make color ones once somebody looks.
  load().then(() => setTimeout(() => load().catch(() => { /* the first one stays */ }), 1500))
    .catch(() => put(hint, "There is no picture now; zones can still be changed by numbers."));

  function begin(type) {
    let number = zones.length + 1;
    while (zones.some((zone) => zone.name === "zone-" + number)) number += 1;
    drawing = { name: "zone-" + number, type, polygon: [] };
    zones.push(drawing);
    chosen = zones.length - 1;
    change();
    say("Tap the corners on the picture, or add them with the button Add a corner.");
  }

  function change() { isChanged = true; show(); }

  /** After a change in the form, which stays as it is, so that it keeps the focus. */
  function changeByForm() { isChanged = true; showZones(); }

  function reset() {
    zones = structuredClone(settings.zones);
    chosen = zones.length ? 0 : -1;
    drawing = null;
    isChanged = false;
    fault.hidden = true;
    show();
  }

  board.addEventListener("click", (event) => {
    if (!drawing || event.target.closest("button")) return;
    const frame = board.getBoundingClientRect();
    const point = [round((event.clientX - frame.left) / frame.width), round((event.clientY - frame.top) / frame.height)];
    const first = drawing.polygon[0];
    if (drawing.polygon.length >= 3 && Math.hypot(point[0] - first[0], point[1] - first[1]) < NEAR) finish();
    else { drawing.polygon.push(point); change(); }
  });

  function finish() {
    drawing = null;
    show();
    say("The area is closed. Its corners can be moved.");
  }

  function corner(zone, index) {
    const node = h("button", { type: "button", class: "corner", disabled: !mayEdit, "data-keys": true, "aria-label": `Corner ${index + 1} of ${zone.name}` });
    const place = () => {
      const [x, y] = zone.polygon[index];
      node.style.left = x * 100 + "%";
      node.style.top = y * 100 + "%";
    };
    place();
    node.addEventListener("pointerdown", (event) => { node.setPointerCapture(event.pointerId); });
    node.addEventListener("pointermove", (event) => {
      if (!node.hasPointerCapture(event.pointerId)) return;
      const frame = board.getBoundingClientRect();
      zone.polygon[index] = [round((event.clientX - frame.left) / frame.width), round((event.clientY - frame.top) / frame.height)];
      isChanged = true;
      place();
      draw();
    });
    node.addEventListener("pointerup", () => { if (drawing === zone && index === 0 && zone.polygon.length >= 3) finish(); else show(); });
    node.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (by) {
        const step = event.shiftKey ? 5 * STEP : STEP;
        zone.polygon[index] = zone.polygon[index].map((value, axis) => round(value + step * by[axis]));
      } else if (event.key === "Delete" || event.key === "Backspace") zone.polygon.splice(index, 1);
      else return;
      event.preventDefault();
      change();
      corners.children[Math.min(index, corners.children.length - 1)]?.focus();
    });
    return node;
  }

  function draw() {
    shapes.replaceChildren(...zones.map((zone, index) => h(zone === drawing ? "polyline" : "polygon", {
      points: zone.polygon.map((point) => point.join(",")).join(" "), class: zone.type + (index === chosen ? " chosen" : ""),
    })));
  }

  function show() {
    showZones();
    form.replaceChildren(...(zones[chosen] ? fields(zones[chosen]) : []));
  }

  function showZones() {
    draw();
    const zone = zones[chosen];
    corners.replaceChildren(...(zone?.polygon ?? []).map((_, index) => corner(zone, index)));
    list.replaceChildren(...zones.map((other, index) => h("li", {}, h("button", {
      type: "button", "aria-pressed": String(index === chosen), onclick: () => { chosen = index; show(); },
    }, other.name, h("span", { class: "kind " + other.type }, other.type === "include" ? "watched" : "left out")))));
    board.classList.toggle("drawing", drawing !== null);
    put(hint, drawing ? (drawing.polygon.length < 3 ? "Tap the corners of the area on the picture." : "Tap the first corner again to close the area.")
      : zones.length === 0 ? "The whole picture counts. Draw an area to watch only there, or to leave it out, such as a road or a tree."
      : zones.some((other) => other.type === "include") ? "Only what happens in the watched areas counts; what is left out never does."
      : "Everything counts but what is left out.");
    bar.hidden = !mayEdit || !isChanged;
    save.disabled = drawing !== null || zones.some((other) => other.polygon.length < 3);
  }

  function fields(zone) {
    const name = h("input", { value: zone.name, disabled: !mayEdit, maxlength: 64, onchange: () => {
      if (NAME.test(name.value) && !zones.some((other) => other !== zone && other.name === name.value)) { zone.name = name.value; put(remove, "Remove " + zone.name); changeByForm(); }
      else { name.value = zone.name; say("A name has letters, digits, dots and dashes, and only one zone has it."); }
    } });
    const kind = h("select", { disabled: !mayEdit, onchange: () => { zone.type = kind.value; limits.forEach((node) => { node.hidden = zone.type === "exclude"; }); changeByForm(); } },
      h("option", { value: "include" }, "Watch only here"), h("option", { value: "exclude" }, "Leave out"));
    kind.value = zone.type;
    const place = "zones." + chosen + ".";
    // Only watched areas have them; an area that becomes one again before it is saved has its old ones.
    const limits = [
      ["min_size", "Smallest size, % of the picture", 100, "0.1", "0: things of any size count. Only detectors of moving cells or patches see sizes."],
      ["min_duration_seconds", "How long it must be unusual, seconds", 1, "0.5", "0: the usual alert rule alone decides."],
    ].map(([key, label, per, step, hint]) => {
      const about = h("p", { class: "dim", id: "about-" + key }, hint);
      const input = h("input", { type: "number", min: 0, step, disabled: !mayEdit, value: String(Math.round((zone[key] ?? 0) * per * 1e4) / 1e4), onchange: () => {
        zone[key] = Math.round(Number(input.value) / per * 1e6) / 1e6;
        changeByForm();
      } });
      return h("div", { class: "field", hidden: zone.type === "exclude" }, h("label", {}, label, input), about, note(input, place + key, about.id));
    });
    const numbers = zone.polygon.map((point, index) => h("div", { class: "row" },
      [0, 1].map((axis) => {
        const input = h("input", {
          type: "number", min: 0, max: 100, step: 0.1, disabled: !mayEdit, value: String(Math.round(point[axis] * 1000) / 10),
          "aria-label": `Corner ${index + 1}, percent from the ${axis ? "top" : "left"}`,
          onchange: () => { zone.polygon[index][axis] = round(Number(input.value) / 100); changeByForm(); },
        });
        return input;
      }),
      h("button", { type: "button", class: "icon", disabled: !mayEdit, "aria-label": `Remove corner ${index + 1}`, onclick: () => { zone.polygon.splice(index, 1); change(); } }, icon("M6 6l12 12M18 6 6 18"))));
    const remove = h("button", { type: "button", class: "quiet", disabled: !mayEdit, onclick: () => {
      zones.splice(chosen, 1);
      if (drawing === zone) drawing = null;
      chosen = zones.length - 1;
      change();
    } }, "Remove " + zone.name);
    return [
      h("div", { class: "field" }, h("label", {}, "Name", name), note(name, place + "name")), h("label", {}, "What it does", kind), ...limits,
      h("details", {}, h("summary", {}, "Corners as numbers"), ...numbers,
        h("button", { type: "button", disabled: !mayEdit, onclick: () => {
          const last = zone.polygon.at(-1) ?? [0.4, 0.4];
          zone.polygon.push([round(last[0] + 0.1), round(last[1] + (zone.polygon.length % 2 ? 0.1 : 0))]);
          if (drawing === zone && zone.polygon.length >= 3) drawing = null;
          change();
        } }, "Add a corner")),
      remove,
    ];
  }

  async function store() {
    save.disabled = true;
    try {
      const body = { zones: zones.map(({ min_size, min_duration_seconds, ...zone }) => (zone.type === "exclude" ? zone : { ...zone, min_size, min_duration_seconds })) };
      const answer = await ask(cameraPath(camera) + "/zones", { method: "PUT", body });
      settings.zones = answer.zones;
      reset();
      say("The zones are saved and active.");
      saved(answer);
    } catch (problem) {
      const of = (place) => zones[place.match(/^zones\.(\d+)\./)?.[1]], first = Object.keys(problem.document?.fields ?? {}).map(of).find(Boolean);
      if (first) { chosen = zones.indexOf(first); show(); }
      showRefusal(fault, problem, { within: form, name: (place) => (of(place) ? of(place).name + ": " : "") });
      save.disabled = false;
    }
  }

  show();
  return h("div", {}, board, hint, mayEdit && h("div", { class: "row actions" }, add("include"), add("exclude")), list, form, fault, bar);
}
