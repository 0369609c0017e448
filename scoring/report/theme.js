"use strict";
// Light and dark: the system's choice unless the reader makes one. Colours of submissions follow.
const THEMES = { system: "as the system", light: "light", dark: "dark" };
const SYSTEM_DARK = matchMedia("(prefers-color-scheme: dark)");
const DASHES = ["solid", "dash", "dot", "dashdot"];
const STYLE_OF = {};
let chosenTheme = storedTheme();

// Some browsers keep nothing for files.
function storedTheme() {
  try { return localStorage.getItem("theme") in THEMES ? localStorage.getItem("theme") : "system"; } catch { return "system"; }
}
function isDark() { return chosenTheme === "dark" || (chosenTheme === "system" && SYSTEM_DARK.matches); }

function applyTheme(dark = isDark()) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  const palette = dark ? DATA.colors.on_black : DATA.colors.on_white;
  ORDER.forEach((i, place) => { STYLE_OF[i] = { color: palette[place % palette.length], dash: DASHES[(place + Math.floor(place / palette.length)) % DASHES.length] }; });
}

function themeSwitch(redraw) {
  const box = select("Colours", Object.entries(THEMES), (value) => {
    chosenTheme = value;
    try { localStorage.setItem("theme", value); } catch { /* it holds for this visit */ }
    applyTheme();
    redraw();
  });
  box.querySelector("select").value = chosenTheme;
  SYSTEM_DARK.addEventListener("change", () => { applyTheme(); redraw(); });
  return box;
}

function themed(name) { return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim(); }

function luminance(rgb) {
  const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

// Colour of a cell: the page's at `middle`, blue above, orange below; black or white text, whichever is easier to read.
function diverging(value, middle, reach) {
  const x = Math.max(-1, Math.min(1, (value - middle) / reach));
  const end = x >= 0 ? [0, 114, 178] : [213, 94, 0];
  const page = document.documentElement.dataset.theme === "dark" ? [22, 27, 34] : [255, 255, 255];
  const mixed = page.map((c, k) => Math.round(c + (end[k] - c) * Math.abs(x) * 0.75));
  return `background:rgb(${mixed});color:${luminance(mixed) > 0.179 ? "#000" : "#fff"}`;
}

// `low` names the blue end.
function scale(low, middle, high) {
  const swatch = (value) => element("span", { class: "cell sample", style: diverging(value, 0, 1) }, value > 0 ? low : value < 0 ? high : middle);
  return element("p", { class: "legend" }, "Colours: ", swatch(1), swatch(0), swatch(-1));
}
