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

// head: [{text, class, title}], rows: [[cell or {text|node, class, style, title}]]; rowClass(k) names a row's class.
function table(head, rows, { wide = false, rowClass = () => "" } = {}) {
  const cellOf = (tag) => (cell) => {
    const plain = typeof cell !== "object" || cell === null || cell instanceof Node;
    const { text, node, ...attributes } = plain ? { text: cell } : cell;
    return element(tag, attributes, node ?? text ?? "");
  };
  const body = rows.map((row, k) => element("tr", { class: rowClass(k) }, row.map(cellOf("td"))));
  const header = element("thead", {}, element("tr", {}, head.map(cellOf("th"))));
  return element("div", { class: "scroll", tabindex: "0" },
    element("table", wide ? { class: "wide" } : {}, header, element("tbody", {}, body)));
}

function intervalGraphic(low, high, at, color) {
  const ns = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(ns, "svg");
  const put = (tag, attributes) => {
    const node = document.createElementNS(ns, tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    svg.append(node);
  };
  svg.setAttribute("class", "interval");
  svg.setAttribute("viewBox", "0 0 110 12");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", low === null ? "no interval" : `from ${low.toFixed(3)} to ${high.toFixed(3)}`);
  const x = (value) => 5 + 100 * value;
  put("line", { x1: 5, x2: 105, y1: 6, y2: 6, stroke: "#d8dee4", "stroke-width": 1 });
  if (low !== null) put("line", { x1: x(low), x2: x(high), y1: 6, y2: 6, stroke: color, "stroke-width": 3, opacity: 0.45 });
  put("rect", { x: x(at) - 1, y: 1.5, width: 2, height: 9, fill: color });
  return svg;
}

// Long names may break after a separator.
function breakable(text) {
  return text.split(/(?<=[_\-./])/).flatMap((part, k) => (k === 0 ? [part] : [element("wbr"), part]));
}
function link(text, target) { return element("a", { href: target, title: text }, breakable(text)); }
function pageOf(i, workload) {
  const parts = [];
  if (i !== null && i !== undefined) parts.push(`submission=${i}`);
  if (workload) parts.push(`workload=${encodeURIComponent(workload)}`);
  return `#${parts.join("&")}`;
}
function nameCell(i) { return { node: link(NAMES[i], pageOf(i)), class: "name", title: NAMES[i] }; }

// Buttons that switch submissions on and off; `scores` says whether they show the recomputed score.
function chips(withScores) {
  const list = element("ul", { class: "chips" });
  const draw = () => {
    const ratios = ratiosOf(ENABLED);
    const buttons = ORDER.map((i) => {
      const swatch = element("span", { class: "swatch" });
      swatch.style.borderTopColor = STYLE_OF[i].color;
      swatch.style.borderTopStyle = { solid: "solid", dash: "dashed", dashdot: "dashed", dot: "dotted" }[STYLE_OF[i].dash];
      const on = ENABLED.has(i);
      const score = on ? scoreOf(ratios.get(i)) : null;
      const button = element("button", {
        type: "button", class: "chip", "aria-pressed": String(on), "data-index": i,
        "data-score": withScores && on ? score : undefined, onclick: () => toggle(i), title: NAMES[i],
      }, swatch, element("span", { class: "label" }, NAMES[i]), withScores ? element("b", {}, on ? score.toFixed(4) : "off") : null);
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
  const box = element("select", { "aria-label": label }, options.map(([value, text]) => element("option", { value }, text)));
  box.addEventListener("change", () => onchange(box.value));
  return element("div", { class: "controls" }, element("label", {}, `${label} `, box));
}

// Colour of a cell: white at `middle`, blue above, orange below.
function diverging(value, middle, reach) {
  const x = Math.max(-1, Math.min(1, (value - middle) / reach));
  const [r, g, b] = x >= 0 ? [0, 114, 178] : [213, 94, 0];
  const mix = (c) => Math.round(255 + (c - 255) * Math.abs(x) * 0.75);
  return `background:rgb(${mix(r)},${mix(g)},${mix(b)});color:${Math.abs(x) > 0.75 ? "#fff" : "#1b1f24"}`;
}
