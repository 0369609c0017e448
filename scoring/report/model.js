"use strict";
// Data of the report, and the arithmetic that is redone when a submission is switched off.
const DATA = JSON.parse(document.getElementById("data").textContent);
const NAMES = DATA.submissions;
const RULES = DATA.rules;
const ORDER = DATA.leaderboard.map((row) => NAMES.indexOf(row.submission));
const ENABLED = new Set(NAMES.keys());
const LISTENERS = [];

function toggle(index) {
  if (ENABLED.has(index)) ENABLED.delete(index); else ENABLED.add(index);
  for (const listener of LISTENERS) listener();
}

// Performance ratios of the enabled submissions, by the same steps as scoring/matrix.py: {index: [ratio or Infinity]}.
function ratiosOf(enabled) {
  const workloads = RULES.times_workloads;
  const column = new Map(workloads.map((name, i) => [name, i]));
  const times = new Map([...enabled].map((i) => [i, DATA.times_s[i].map((t) => (t === null ? Infinity : t))]));
  const held_out = Object.entries(DATA.held_out).map(([extra, base]) => [column.get(extra), column.get(base)]);
  for (const row of times.values()) {
    for (const [extra, base] of held_out) if (row[base] === Infinity) row[extra] = Infinity;
  }
  const fastest = workloads.map((_, j) => Math.min(Infinity, ...[...times.values()].map((row) => row[j])));
  for (const row of times.values()) {
    row.forEach((t, j) => { if (t > RULES.cutoff_factor * fastest[j]) row[j] = Infinity; });
  }
  for (const row of times.values()) {
    for (const [extra, base] of held_out) if (row[extra] === Infinity) row[base] = Infinity;
  }
  const base = RULES.base_workloads.map((name) => column.get(name));
  const best = base.map((j) => Math.min(Infinity, ...[...times.values()].map((row) => row[j])));
  const ratios = new Map();
  for (const [i, row] of times) {
    ratios.set(i, base.map((j, k) => (row[j] === Infinity ? Infinity : best[k] === 0 && row[j] === 0 ? 1 : row[j] / best[k])));
  }
  return ratios;
}

function share(ratios, tau) {
  return ratios.filter((r) => r <= tau).length / ratios.length;
}

function scoreOf(ratios) {
  const width = RULES.tau_max - 1;
  if (DATA.mode === "rules") {
    const areas = ratios.map((r) => Math.min(Math.max(RULES.tau_max - r, 0), width));
    return areas.reduce((a, b) => a + b, 0) / ratios.length / width;
  }
  const taus = DATA.profile.taus;
  let area = 0;
  for (let k = 1; k < taus.length; k++) {
    area += ((share(ratios, taus[k - 1]) + share(ratios, taus[k])) / 2) * (taus[k] - taus[k - 1]);
  }
  return area / width;
}

// Corners of the step function: [taus, shares].
function profileOf(ratios) {
  const jumps = ratios.filter((r) => r <= RULES.tau_max).sort((a, b) => a - b);
  const taus = [1], shares = [share(ratios, 1)];
  for (const r of jumps) { taus.push(r); shares.push(share(ratios, r)); }
  taus.push(RULES.tau_max); shares.push(share(ratios, RULES.tau_max));
  return [taus, shares];
}

function resultOf(i, workload) {
  return DATA.results.find((r) => r.submission === NAMES[i] && r.workload === workload);
}

function diagnosticsOf(i, workload) {
  return DATA.diagnostics.find((d) => d.submission === NAMES[i] && d.workload === workload);
}

// Formatting. null is a miss or nothing to tell.
function number(value, digits) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}
function significant(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  const text = Number(value.toPrecision(digits));
  return Math.abs(text) >= 1e6 || (text !== 0 && Math.abs(text) < 1e-4) ? text.toExponential() : String(text);
}
// What times are in where the board goes by another clock than seconds: in full and beside a number.
const [CLOCK_WORDS, CLOCK_UNIT] = {
  reference: ["reference steps", "ref.\u00a0steps"], projected: ["projected reference steps", "proj.\u00a0steps"], steps: ["steps", "steps"],
}[RULES.clock] ?? [];
function unitFor(seconds) {
  if (CLOCK_UNIT) return { name: CLOCK_UNIT, size: 1 };
  if (seconds >= 3 * 3600) return { name: "h", size: 3600 };
  return seconds >= 600 ? { name: "min", size: 60 } : { name: "s", size: 1 };
}
function duration(seconds, ofBudget) {
  if (seconds === null || seconds === undefined) return "miss";
  const unit = unitFor(ofBudget ?? seconds);
  return `${significant(seconds / unit.size)}\u00a0${unit.name}`;
}
function percent(value, digits = 0) {
  return value === null || value === undefined ? "–" : `${(100 * value).toFixed(digits)}\u00a0%`;
}
function count(n, one, many) { return `${n} ${n === 1 ? one : many}`; }
