"use strict";
// Small helpers for building pages. Text is always set as text, never as markup.
function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") node.className = value;
    else if (key === "onclick") node.addEventListener("click", value);
    else if (value !== undefined && value !== null) node.setAttribute(key, value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) node.append(child);
  }
  return node;
}

function paragraph(text, kind) { return element("p", kind ? { class: kind } : {}, text); }

function drawing(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function intervalGraphic(low, high, at, color) {
  const x = (value) => 5 + 100 * value;
  const line = (from, to, more) => drawing("line", { x1: from, x2: to, y1: 6, y2: 6, ...more });
  return drawing("svg", { class: "interval", viewBox: "0 0 110 12", preserveAspectRatio: "none", role: "img",
    "aria-label": low === null ? "no interval" : `from ${low.toFixed(3)} to ${high.toFixed(3)}` },
  line(5, 105, { class: "track" }), ...(low === null ? [] : [line(x(low), x(high), { stroke: color, "stroke-width": 3, opacity: 0.6 })]),
  drawing("rect", { x: x(at) - 1, y: 1.5, width: 2, height: 9, fill: color }));
}

const DASH_LENGTHS = { solid: "none", dash: "7 4", dot: "2 3", dashdot: "7 3 2 3" };
function swatch(i) {
  return drawing("svg", { class: "swatch", viewBox: "0 0 32 6", "aria-hidden": "true" }, drawing("line", {
    x1: 0, x2: 32, y1: 3, y2: 3, stroke: STYLE_OF[i].color, "stroke-width": 3, "stroke-dasharray": DASH_LENGTHS[STYLE_OF[i].dash] }));
}

// Long names may break after a separator.
function breakable(text) {
  return text.split(/(?<=[_\-./])/).flatMap((part, k) => (k === 0 ? [part] : [element("wbr"), part]));
}
function link(text, target) { return element("a", { href: target, title: text }, breakable(text)); }
// Addresses hold names, which stay when the board grows; a folder name that is no Unicode text has a number instead.
function pageOf(i, workload) {
  const parts = [];
  const encoded = (name, fallback) => { try { return encodeURIComponent(name); } catch { return fallback; } };
  if (i !== null && i !== undefined) parts.push(`submission=${encoded(NAMES[i], i)}`);
  if (workload) parts.push(`workload=${encoded(workload, "")}`);
  return `#${parts.join("&")}`;
}
function nameCell(i) { return { node: link(NAMES[i], pageOf(i)), class: "name", title: NAMES[i], header: true }; }

// Buttons that switch submissions on and off; `scores` says whether they show the recomputed score.
function chips(withScores) {
  const list = element("ul", { class: "chips" });
  const draw = () => {
    const ratios = ratiosOf(ENABLED);
    const buttons = ORDER.map((i) => {
      const on = ENABLED.has(i);
      const score = on ? scoreOf(ratios.get(i)) : null;
      const button = element("button", {
        type: "button", class: "chip", "aria-pressed": String(on), "data-index": i,
        "data-score": withScores && on ? score : undefined, onclick: () => toggle(i), title: NAMES[i],
      }, swatch(i), element("span", { class: "label" }, NAMES[i]), withScores ? element("b", {}, on ? score.toFixed(4) : "off") : null);
      return element("li", {}, button);
    });
    list.replaceChildren(...buttons);
  };
  LISTENERS.push(draw);
  draw();
  return list;
}

function tile(value, label) { return element("div", { class: "tile" }, element("b", {}, value), element("span", {}, label)); }

function select(label, options, onchange) {
  const box = element("select", {}, options.map(([value, text]) => element("option", { value }, text)));
  box.addEventListener("change", () => onchange(box.value));
  return element("div", { class: "controls" }, element("label", {}, `${label} `, box));
}
