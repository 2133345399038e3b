// Elements without markup in strings: no text from elsewhere ever becomes markup.

export const $ = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";
const SHAPES = new Set(["svg", "path", "polygon", "polyline", "circle", "line", "rect", "g", "text", "title"]);

/** Create an element. Keys: "class", "on…" for listeners, "data…" and others as attributes; false and null leave out. */
export function h(tag, props = {}, ...children) {
  const node = SHAPES.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === false || value === null || value === undefined) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "muted" || key === "value" || key === "checked") node[key] = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Set a text only if it differs, so that screen readers do not repeat what they have said. */
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function say(text) {
  put($("said"), "");
  setTimeout(() => put($("said"), text), 50);
}

let notes = 0;

/** Room for what is wrong with a control's value. `place`: where the value is in the request, such as zones.0.name. */
export function note(control, place, describedBy = "") {
  const node = h("p", { class: "fault note", id: "note-" + (notes += 1), hidden: true });
  node.place = place;
  node.control = control;
  control?.setAttribute("aria-describedby", (describedBy + " " + node.id).trim());
  return node;
}

/** Say why nothing was saved: beside the fields within a node that it is about, and the rest in a box. `name(place)`: what a value belongs to. */
export function showRefusal(box, problem, { within = null, name = () => "" } = {}) {
  const fields = problem.document?.fields ?? {}, open = new Set(Object.keys(fields));
  for (const node of within?.querySelectorAll(".note") ?? []) {
    put(node, open.delete(node.place) ? fields[node.place] : "");
    node.hidden = !node.textContent;
    node.control?.classList.toggle("invalid", !node.hidden);
    if (node.control?.matches("input")) node.control.setAttribute("aria-invalid", String(!node.hidden));
  }
  const first = within?.querySelector(".invalid");
  (first?.matches("input") ? first : first?.querySelector("button"))?.focus();
  const faults = (problem.document?.faults ?? []).map((fault) => fault.message.replace(/^cameras\.\d+[.:]? */, ""));
  const rest = Object.keys(fields).length ? [...open].map((place) => name(place) + fields[place])
    : faults.length ? faults : [problem.message, problem.hint].filter(Boolean);
  box.replaceChildren(h("p", {}, "Not saved: " + (rest.join(". ") || "a value is not valid. The reason is beside it.")));
  // What to write into the file by hand, if it cannot be changed here.
  if (problem.document?.yaml) box.append(h("pre", { tabindex: "0" }, problem.document.yaml));
  box.hidden = false;
}

export function icon(path) {
  return h("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, h("path", { d: path }));
}

/** Show a modal dialog; it is removed when it is closed. */
export function dialog(label, ...children) {
  const close = h("button", { type: "button", class: "icon close", "aria-label": "Close", onclick: () => box.close() },
    icon("M6 6l12 12M18 6 6 18"));
  const box = h("dialog", { "aria-label": label }, close, ...children);
  box.addEventListener("close", () => box.remove());
  box.addEventListener("click", (event) => { if (event.target === box) box.close(); });
  document.body.append(box);
  box.showModal();
  return box;
}
