"use strict";
// A chart with its tools: zoom, pan, log axes, PNG, SVG, CSV. Drawn when it comes into view, or for printing.
const CONFIG = { responsive: true, displaylogo: false, displayModeBar: false };
const FONT_FAMILY = 'system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif';
const PRINT_WIDTH = 690;
const EXPORT = { width: 1100, height: 640 };
const TOUCH = matchMedia("(pointer: coarse)");

// Plotly reads a few tags in labels, so that names must be escaped for it.
function label(text) { return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;"); }

function layout(x, y, more = {}) {
  const axis = () => ({ gridcolor: themed("grid"), zeroline: false, linecolor: themed("quiet"), ticks: "outside", tickcolor: themed("quiet"), automargin: true });
  return {
    font: { family: FONT_FAMILY, size: 12, color: themed("ink") }, margin: { l: 54, r: 14, t: 14, b: 46 }, showlegend: false, hovermode: "closest",
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    xaxis: { ...axis(), ...x }, yaxis: { ...axis(), ...y }, ...more,
  };
}

const VISIBLE = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) { VISIBLE.unobserve(target); target.draw(); }
  }
}, { rootMargin: "300px" });

// What the reader chose, on top of the plan that a chart makes.
function viewed(plan, view) {
  const axes = { xaxis: plan.xaxis, yaxis: plan.yaxis };
  for (const [key, axis] of Object.entries(axes)) {
    const wanted = view.near && plan.meta?.near?.[key];
    if (wanted) axis.range = wanted;
    if (!view.log[key]) continue;
    axis.type = "log";
    if (axis.range) {
      const [low, high] = axis.range.map((v) => (v > 0 ? Math.log10(v) : null));
      axis.range = high === null ? undefined : [low ?? high - 3, high];
    }
    for (const note of plan.annotations ?? []) {
      const letter = key[0];
      if (note[`${letter}ref`] !== "paper") note[letter] = note[letter] > 0 ? Math.log10(note[letter]) : undefined;
    }
  }
  if (plan.annotations) plan.annotations = plan.annotations.filter((note) => note.x !== undefined && note.y !== undefined);
  return { ...plan, dragmode: view.drag, uirevision: view.revision };
}

function saveChart(box, name, format) {
  const [traces, plan] = box.figure();
  const legend = traces.some((t) => t.name !== undefined);
  const figure = { data: traces, config: CONFIG, layout: { ...plan, paper_bgcolor: themed("page"), showlegend: legend, margin: { ...plan.margin, t: 56 },
    title: { text: label(name), font: { size: 16 } }, autosize: false, ...EXPORT } };
  return Plotly.toImage(figure, { format, ...EXPORT, scale: 2 }).then((url) => download(fileName(name, format), url));
}

function chartRows(box) {
  const [traces, plan] = box.figure();
  const title = (axis, fallback) => axis.title?.text ?? fallback;
  const rows = traces.flatMap((t) => t.x.map((x, k) => [t.meta?.name ?? t.name ?? "", x, t.customdata ? t.customdata[k] : t.y[k]]));
  return [["series", title(plan.xaxis, "x"), title(plan.yaxis, "y")], ...rows];
}

// Moves or scales the visible range of both axes; log axes have logarithms as limits.
function steer(box, { dx = 0, dy = 0, zoom = 1 }) {
  const changes = {};
  for (const [key, shift] of [["xaxis", dx], ["yaxis", dy]]) {
    const [low, high] = box._fullLayout[key].range.map(Number);
    const middle = (low + high) / 2 + shift * (high - low), half = (zoom * (high - low)) / 2;
    changes[`${key}.range`] = [middle - half, middle + half];
  }
  Plotly.relayout(box, changes);
}
const KEYS = {
  ArrowLeft: { dx: -0.1 }, ArrowRight: { dx: 0.1 }, ArrowUp: { dy: 0.1 }, ArrowDown: { dy: -0.1 },
  "+": { zoom: 0.8 }, "=": { zoom: 0.8 }, "-": { zoom: 1.25 },
};

function chartTools(box, name, { axes, hasNear, extra }) {
  const redraw = () => { box.view.revision += 1; box.draw(); };
  const press = (text, isOn, change, title) => {
    const button = element("button", { type: "button", class: "tool", title, "aria-pressed": String(isOn()), "aria-label": `${text}: ${name}`,
      onclick: () => { change(); redraw(); for (const other of tools.querySelectorAll("[aria-pressed]")) other.update(); } }, text);
    button.update = () => button.setAttribute("aria-pressed", String(isOn()));
    return button;
  };
  const action = (text, run, title, save) => element("button", { type: "button", class: "tool", "data-save": save, title, "aria-label": `${save ? "Save as " : ""}${text}: ${name}`, onclick: run }, text);
  const { view } = box;
  const drag = (mode) => press(mode === "zoom" ? "Zoom" : "Pan", () => view.drag === mode, () => { view.drag = view.drag === mode ? false : mode; }, `drag to ${mode}; arrow keys, + and − work too`);
  const tools = element("div", { class: "tools" }, extra ?? null);
  tools.append(drag("zoom"), drag("pan"));
  if (hasNear) tools.append(press("Near target", () => view.near, () => { view.near = !view.near; }, "only the stretch around the target"));
  for (const key of axes) tools.append(press(`Log ${key[0]}`, () => view.log[key], () => { view.log[key] = !view.log[key]; }, "logarithmic axis"));
  tools.append(action("Reset", () => { Object.assign(view, { near: false, log: {} }); redraw(); for (const other of tools.querySelectorAll("[aria-pressed]")) other.update(); }, "as it was; key 0"),
    action("PNG", () => saveChart(box, name, "png"), "picture", "png"), action("SVG", () => saveChart(box, name, "svg"), "drawing", "svg"),
    action("CSV", () => download(fileName(name, "csv"), csv(chartRows(box)), "text/csv"), "the points of this chart", "csv"));
  return tools;
}

// `make` returns [traces, layout]; `live` redraws when a submission is switched; `extra` goes before the tools.
function chart(make, { small = false, live = false, name = "", axes = ["xaxis", "yaxis"], hasNear = false, extra } = {}) {
  const box = element("div", { class: small ? "plot small" : "plot", role: "img", "aria-label": name, tabindex: "0" });
  box.view = { near: false, log: {}, drag: TOUCH.matches ? false : "zoom", revision: 0 };
  box.figure = () => { const [traces, plan] = make(); return [traces, viewed(plan, box.view)]; };
  box.draw = (width) => {
    const [traces, plan] = box.figure();
    Plotly.react(box, traces, width ? { ...plan, width, height: box.clientHeight, autosize: false } : plan, CONFIG);
    box.drawn = true;
  };
  box.redraw = () => { if (box.drawn) box.draw(); };
  box.addEventListener("keydown", (event) => {
    if (!box.drawn || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in KEYS) steer(box, KEYS[event.key]);
    else if (event.key === "0") { box.view.revision += 1; box.draw(); } else return;
    event.preventDefault();
  });
  if (live) LISTENERS.push(box.redraw);
  VISIBLE.observe(box);
  return element("div", { class: "chart" }, chartTools(box, name, { axes, hasNear, extra }), box);
}

// Paper is white, of another width, and shows what the reader did not scroll to.
function preparePrint(redrawPage) {
  addEventListener("beforeprint", () => {
    if (isDark()) { applyTheme(false); redrawPage(); }
    for (const box of document.querySelectorAll(".plot")) { VISIBLE.unobserve(box); box.draw(box.classList.contains("small") ? PRINT_WIDTH / 2 - 10 : PRINT_WIDTH); }
  });
  addEventListener("afterprint", () => {
    if (isDark()) { applyTheme(); redrawPage(); } else for (const box of document.querySelectorAll(".plot")) box.draw();
  });
}
