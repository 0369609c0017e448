"use strict";
// The charts of the report.
const MARKERS = ["circle", "square", "diamond", "triangle-up"];

function line(i) { return { color: STYLE_OF[i].color, dash: STYLE_OF[i].dash, width: 2 }; }
function shown() { return ORDER.filter((i) => ENABLED.has(i)); }

function profileChart() {
  return chart(() => {
    const ratios = ratiosOf(ENABLED);
    const traces = shown().map((i) => {
      const [x, y] = profileOf(ratios.get(i));
      return { x, y, name: label(NAMES[i]), mode: "lines", line: { ...line(i), shape: "hv", width: 2.5 },
        hovertemplate: "%{fullData.name}<br>τ %{x:.3f}: %{y:.3f}<extra></extra>" };
    });
    return [traces, layout(
      { title: { text: "τ: time over the fastest submission's" }, range: [1, RULES.tau_max] },
      { title: { text: "share of workloads solved" }, range: [-0.02, 1.02] })];
  }, { live: true, name: "Performance profiles" });
}

// Of each submission: all its trials, the one that was on target first (else nearest to it), or the one in the middle.
function chosenTrials(curves, choice, rule) {
  if (choice === "all") return curves;
  const sign = rule.direction === "minimize" ? 1 : -1;
  const key = (c) => [c.time_to_target_s ?? Infinity, c.best === null ? Infinity : sign * c.best];
  const order = (p, q) => { const [a, b] = [key(p), key(q)]; return a[0] === b[0] ? a[1] - b[1] || 0 : a[0] - b[0]; };
  const groups = Map.groupBy ? Map.groupBy(curves, (c) => c.submission) : curves.reduce((m, c) => m.set(c.submission, [...(m.get(c.submission) ?? []), c]), new Map());
  return [...groups.values()].map((group) => group.sort(order)[choice === "best" ? 0 : Math.floor((group.length - 1) / 2)]);
}

// The stretch around the target: from the earliest first evaluation on target to the latest, and values near it.
function nearTarget(curves, rule, unit, [low, high]) {
  const times = curves.map((c) => c.time_to_target_s).filter((t) => t !== null);
  const target = rule.validation_target, reach = 0.2 * (high - low), beyond = 0.06 * (high - low);
  const y = rule.direction === "minimize" ? [target - beyond, target + reach] : [target - reach, target + beyond];
  const x = times.length ? [0.7 * Math.min(...times), Math.min(rule.budget_s, 1.15 * Math.max(...times))] : [0.5 * rule.budget_s, 1.04 * rule.budget_s];
  return { xaxis: x.map((t) => t / unit.size), yaxis: y };
}

function curveTraces(drawn, unit) {
  const first = new Set();
  return drawn.map((c) => {
    const isFirst = !first.has(c.submission);
    first.add(c.submission);
    const trial = `${NAMES[c.submission]}, study ${c.study}, trial ${c.trial}`;
    return {
      x: c.time_s.map((t) => t / unit.size), y: c.values, mode: c.values.length > 1 ? "lines" : "markers", opacity: 0.8,
      line: { ...line(c.submission), width: 1.5 }, marker: { color: STYLE_OF[c.submission].color }, connectgaps: false,
      name: label(NAMES[c.submission]), legendgroup: String(c.submission), showlegend: isFirst, meta: { name: trial },
      hovertemplate: `${label(trial)}<br>%{x:.4g} ${unit.name}: %{y:.5g}<extra></extra>`,
    };
  });
}

function curvesChart(workload, only, options = {}) {
  const rule = RULES.workloads[workload];
  const unit = unitFor(rule.budget_s);
  const curves = DATA.curves.filter((c) => c.workload === workload && (only === undefined || c.submission === only))
    .sort((a, b) => ORDER.indexOf(a.submission) - ORDER.indexOf(b.submission));
  let choice = curves.length > 60 ? "best" : "all";
  const make = () => {
    const drawn = chosenTrials(curves.filter((c) => only !== undefined || ENABLED.has(c.submission)), choice, rule);
    const range = valueRange(drawn, rule);
    const budget = rule.budget_s / unit.size;
    const guide = (more) => ({ type: "line", line: { color: themed("ink"), width: 1.2, dash: "dot" }, ...more });
    const note = (more) => ({ showarrow: false, bgcolor: themed("page"), opacity: 0.85, ...more });
    return [curveTraces(drawn, unit), layout(
      { title: { text: `submission time (${unit.name})` }, range: [0, 1.04 * budget] },
      { title: { text: label(`validation ${rule.metric}`) }, range },
      { meta: { near: nearTarget(drawn, rule, unit, range) },
        shapes: [guide({ xref: "paper", x0: 0, x1: 1, y0: rule.validation_target, y1: rule.validation_target }),
          guide({ yref: "paper", y0: 0, y1: 1, x0: budget, x1: budget })],
        annotations: [
          note({ xref: "paper", x: 0.01, xanchor: "left", y: rule.validation_target, yanchor: "bottom", text: `target ${significant(rule.validation_target, 6)}` }),
          note({ yref: "paper", y: 1, yanchor: "top", x: budget, xanchor: "right", text: "budget " })] })];
  };
  const extra = select("Trials", [["all", "all"], ["best", "best"], ["median", "median"]], (value) => { choice = value; holder.querySelector(".plot").draw(); });
  extra.querySelector("select").value = choice;
  const holder = chart(make, { live: only === undefined, name: `Training curves of ${workload}`, hasNear: true, extra, ...options });
  return holder;
}

// The stretch of values that matters: around the target, without the first tenth of each run.
function valueRange(curves, rule) {
  const late = curves.flatMap((c) => c.values.filter((v, k) => v !== null && c.time_s[k] > 0.05 * rule.budget_s)).sort((a, b) => a - b);
  const target = rule.validation_target;
  if (!late.length) return [target - Math.abs(target) * 0.5, target + Math.abs(target) * 0.5];
  const at = (q) => late[Math.min(late.length - 1, Math.max(0, Math.floor(q * late.length)))];
  const minimise = rule.direction === "minimize";
  const low = Math.min(target, at(minimise ? 0 : 0.1)), high = Math.max(target, at(minimise ? 0.9 : 1));
  const pad = 0.06 * (high - low) || Math.abs(target) * 0.1;
  return [low - pad, high + pad];
}

function ecdfChart() {
  const { ecdf_budget_share: x, ecdf_solved: solved } = DATA.sensitivity;
  return chart(() => [shown().map((i) => ({
    x, y: solved[i], name: label(NAMES[i]), mode: "lines", line: { ...line(i), shape: "hv" },
    hovertemplate: "%{fullData.name}<br>%{x:.2f} of the budget: %{y:.3f}<extra></extra>",
  })), layout(
    { title: { text: "submission time over budget" }, range: [0, 1] },
    { title: { text: "share of targets reached" }, range: [-0.02, 1.02] })], { live: true, name: "Targets reached over time" });
}

function scenarioChart(key) {
  const scenarios = DATA.sensitivity[key];
  const names = scenarios.map((s) => label(s.name.length > 34 ? `${s.name.slice(0, 33)}…` : s.name));
  const box = chart(() => [shown().map((i) => ({
    x: scenarios.map((s) => s.scores[i]), y: names.map((_, k) => k), name: label(NAMES[i]), mode: "markers",
    marker: { color: STYLE_OF[i].color, symbol: MARKERS[ORDER.indexOf(i) % MARKERS.length], size: 9, opacity: 0.9 }, customdata: names,
    hovertemplate: "%{fullData.name}<br>%{customdata}: %{x:.4f}<extra></extra>",
  })), layout(
    { title: { text: "score" }, range: [-0.03, 1.03] },
    { tickvals: names.map((_, k) => k), ticktext: names, range: [names.length - 0.4, -0.6] },
    { margin: { l: 10, r: 14, t: 8, b: 46 } })], { live: true, name: `Scores by scenario: ${key}`, axes: ["xaxis"] });
  box.querySelector(".plot").style.height = `${110 + 30 * names.length}px`;
  return box;
}

function lawChart(result, budget, i) {
  const unit = unitFor(budget);
  const x = [0, ...result.law.times_s.map((t) => t / unit.size), budget / unit.size];
  const solved = [0, ...result.law.survival.map((s) => 1 - s)];
  return chart(() => [[{ x, y: [...solved, solved[solved.length - 1]], mode: "lines", line: { ...line(i), shape: "hv" },
    hovertemplate: `%{x:.4g} ${unit.name}: %{y:.2f}<extra></extra>` }], layout(
    { title: { text: `submission time (${unit.name})` }, range: [0, budget / unit.size] },
    { title: { text: "chance to be on target" }, range: [-0.02, 1.04] })], { small: true, name: "Chance to be on target over time" });
}

function tuningChart(result, budget, i) {
  const unit = unitFor(budget);
  const k = result.tuning_curve.map((p) => p.k);
  const trace = (field, name, dash) => ({ x: k, y: result.tuning_curve.map((p) => (p[field] === null ? null : p[field] / unit.size)), name,
    mode: "lines+markers", line: { ...line(i), dash }, hovertemplate: `best of %{x}, ${name}: %{y:.4g} ${unit.name}<extra></extra>` });
  return chart(() => [[trace("restricted_mean_s", "mean", "solid"), trace("median_s", "median", "dot")], layout(
    { title: { text: "runs k" }, dtick: Math.max(1, Math.ceil(k.length / 10)) },
    { title: { text: `time of the best (${unit.name})` }, rangemode: "tozero" },
    { showlegend: true, legend: { orientation: "h", x: 1, xanchor: "right", y: 1.14 } })], { small: true, name: "Time of the best of k runs" });
}
