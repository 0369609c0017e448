"use strict";
// The sections of the front page.
function leaderboardSection() {
  const groups = DATA.leaderboard.map((row) => row.tie_group);
  const base = RULES.base_workloads.length;
  const rows = DATA.leaderboard.map((row, place) => {
    const i = ORDER[place];
    const interval = row.score_low === null ? "not known" : `${row.score_low.toFixed(3)} to ${row.score_high.toFixed(3)}`;
    const graphic = element("div", {}, intervalGraphic(row.score_low, row.score_high, row.score, STYLE_OF[i].color), element("span", { class: "note" }, interval));
    return [
      { text: String(row.rank), class: "big" }, { text: `${row.rank_low}–${row.rank_high}`, class: "optional" },
      { node: element("span", { class: "badge", title: "tie group" }, String(row.tie_group)), class: "optional" },
      { node: element("div", {}, link(NAMES[i], pageOf(i)), element("span", { class: "narrow note" }, `ranks ${row.rank_low}–${row.rank_high}, tie group ${row.tie_group}`)), class: "name folded", title: NAMES[i] },
      { text: row.score.toFixed(4), class: "big" }, { node: graphic, class: "text" },
      { text: row.score_best_of_k.toFixed(3), class: "optional" }, { text: `${row.workloads_solved}/${base}`, class: "optional" },
      { text: String(row.trials_missing + row.trials_unreadable), class: "optional" },
    ];
  });
  const head = ["rank", { text: "ranks", title: "ranks that the comparison of all pairs leaves open", class: "optional" }, { text: "tie group", class: "optional" }, { text: "submission", class: "text" }, "score",
    { text: "95 % interval", class: "text" }, { text: "best-of-k", class: "optional", title: "score from all trials instead of one deal into studies" },
    { text: "workloads", class: "optional" }, { text: "trials lost", class: "optional" }];
  const by = DATA.mode === "rules" ? "the written rules" : "AlgoPerf's scorer; intervals are those of the score by the written rules";
  return [
    paragraph(`Scores by ${by}. A heavy line starts a new tie group: everybody above it is distinguished from everybody below. Sets of ranks hold together at 95 %.`, "lead"),
    table(head, rows, { wide: true, rowClass: (k) => (k > 0 && groups[k] !== groups[k - 1] ? "group-start" : "") }),
    element("h3", {}, "What this board can and cannot show"),
    element("ul", { class: "plain" }, DATA.statements.map((s) => element("li", {}, s))),
  ];
}

function profileSection() {
  return [
    paragraph("Share of workloads that a submission solves within τ times the fastest time; the score is the area under its curve. Switch submissions off to see what the others' scores owe to them.", "lead"),
    chips(true), profileChart(),
  ];
}

function timesSection() {
  const unitOf = (w) => unitFor(RULES.workloads[w].budget_s / 4);
  const head = [{ text: "submission", class: "text" }, ...RULES.times_workloads.map((w) => ({ node: element("span", {}, link(w, pageOf(null, w)), ` (${unitOf(w).name})`), class: "upright" }))];
  const ratios = ratiosOf(new Set(NAMES.keys()));
  const fastest = RULES.times_workloads.map((_, j) => Math.min(...DATA.times_s.map((row) => row[j] ?? Infinity)));
  const rows = ORDER.map((i) => [nameCell(i), ...RULES.times_workloads.map((w, j) => {
    const time = DATA.times_s[i][j];
    const k = RULES.base_workloads.indexOf(w);
    const counts = k < 0 || ratios.get(i)[k] !== Infinity;
    const text = time === null ? "miss" : significant(time / unitOf(w).size) + (counts ? "" : " ✕");
    const style = time === null ? "background:#f0f1f3;color:#57606a" : diverging(-Math.log(time / fastest[j]), -Math.log(2), Math.log(2));
    const title = time === null ? "not on target within the budget" : `${significant(time, 6)} s, ${(time / fastest[j]).toFixed(2)} times the fastest${counts ? "" : "; does not count (cutoff or held-out workload)"}`;
    return { node: link(text, pageOf(i, w)), class: "cell", style, title };
  })]);
  return [
    paragraph("Median time to target over studies. Blue is near the fastest, orange near or beyond four times it; ✕ does not count because of the cutoff or a held-out workload.", "lead"),
    table(head, rows),
  ];
}

function studiesNeeded(d) {
  if (d.verdict !== null) return "enough";
  if (d.studies_needed_low === null) return RULES.tuning.studies < 2 ? "–" : "over 1000";
  return d.studies_needed_high === null ? `${d.studies_needed_low} or more` : `${d.studies_needed_low} to ${d.studies_needed_high}`;
}

function beatsSection() {
  if (NAMES.length < 2) return [paragraph("There is nobody to compare with.")];
  const head = [{ text: "", class: "text" }, ...ORDER.map((_, place) => ({ text: String(place + 1), title: NAMES[ORDER[place]] }))];
  const { difference, p_adjusted: p, better } = DATA.separation;
  const rows = ORDER.map((i, place) => [{ node: element("span", {}, `${place + 1}  `, link(NAMES[i], pageOf(i))), class: "name" }, ...ORDER.map((j) => (i === j ? { text: "·", class: "cell" } : {
    text: `${difference[i][j] > 0 ? "+" : ""}${number(difference[i][j], 3)}`, class: "cell", style: better[i][j] ? diverging(1, 0, 1) : better[j][i] ? diverging(-1, 0, 1) : "",
    title: `${NAMES[i]} minus ${NAMES[j]}: ${better[i][j] ? "better" : better[j][i] ? "worse" : "not distinguished"}, adjusted p ${number(p[i][j], 4)}`,
  }))]);
  const comparisons = DATA.head_to_head.map((d) => [
    { text: d.a, class: d.verdict === d.a ? "name" : "name plain", title: d.a }, { text: d.b, class: d.verdict === d.b ? "name" : "name plain", title: d.b },
    { node: d.verdict === null ? element("span", { class: "badge" }, "not distinguished") : d.verdict === d.a ? "A" : "B", class: "text" },
    number(d.difference, 3), number(d.p_adjusted, 4), `${d.wins_a}:${d.wins_b}`, number(d.time_ratio, 3), studiesNeeded(d),
  ]);
  const comparisonTable = table([{ text: "A", class: "text" }, { text: "B", class: "text" }, { text: "better", class: "text" }, { text: "A − B", title: "difference of the scores" }, "adjusted p", "wins", "time A / B", { text: "studies needed", title: "10 to 90 % range" }], comparisons, { wide: true });
  return [
    paragraph("Score of the row minus score of the column. Coloured where the two are distinguished. Where all are equal, the chance of any claim on a board is at most 5 %.", "lead"),
    table(head, rows),
    element("h3", {}, "Every pair"),
    paragraph("Verdicts, ranks and tie groups come from one comparison, adjusted for all pairs of the board. The last column: how many studies per submission, in all, would distinguish a pair with a power of 80 %.", "lead"),
    comparisons.length > 30 ? element("details", {}, element("summary", {}, `All ${comparisons.length} pairs`), comparisonTable) : comparisonTable,
  ];
}

function curvesSection() {
  const holder = element("div");
  const draw = (workload) => holder.replaceChildren(curvesChart(workload));
  draw(RULES.times_workloads[0]);
  return [
    paragraph("Every trial's validation metric against target and budget.", "lead"),
    select("Workload", RULES.times_workloads.map((w) => [w, w]), draw), chips(false), holder,
  ];
}

function sensitivitySection() {
  const groups = [["workloads", "Leave one workload out"], ["submissions", "Leave one submission out"], ["budgets", "Budget × 0.8 to 1.2"], ["tau_limits", "Limit of τ"], ["targets", "Easier and harder targets"]];
  const holder = element("div");
  const summary = element("p", { class: "lead" });
  const draw = (key) => {
    holder.replaceChildren(scenarioChart(key));
    const scenarios = DATA.sensitivity[key];
    const leaders = scenarios.map((s) => { const best = Math.max(...s.scores.map((x) => x ?? -1)); return NAMES[s.scores.indexOf(best)]; });
    const changed = scenarios.filter((s, k) => leaders[k] !== NAMES[ORDER[0]] && s.scores[ORDER[0]] !== null);
    summary.textContent = changed.length ? `The first place changes in ${changed.length} of ${scenarios.length}: ${changed.map((s) => s.name).join("; ")}.` : `The first place is the same in all ${scenarios.length}.`;
  };
  draw("workloads");
  return [
    select("Scenario", groups, draw), summary, holder,
    element("h3", {}, "Targets reached over time"),
    paragraph("Share of all pairs of study and target (90 to 101 % of each workload's target) that were reached by a share of the budget. Runs stop soon after the real target and at the budget: what lies beyond counts only where it was logged.", "lead"),
    ecdfChart(),
  ];
}

function diagnosticsSection() {
  const holder = element("div");
  const draw = (workload) => {
    const rows = ORDER.map((i) => {
      const d = diagnosticsOf(i, workload);
      const shift = d.rank_by_time === null || d.rank_by_steps === null ? null : d.rank_by_time - d.rank_by_steps;
      return [nameCell(i), significant(d.steps_to_target, 4), significant(d.step_s), percent(d.step_s_spread, 1), shift === null ? "–" : shift > 0 ? `+${shift}` : String(shift),
        percent(d.evaluation_share), d.startup_s === null ? "–" : duration(d.startup_s), `${d.sustained} / ${d.first_only}`,
        { text: Object.entries(d.outcomes).map(([o, n]) => `${n} ${o.replaceAll("_", " ")}`).join(", "), class: "text wrap short" }];
    });
    holder.replaceChildren(table([{ text: "submission", class: "text" }, "steps to target", "s per step", { text: "its spread", title: "median absolute deviation over median" },
      { text: "rank shift", title: "rank by time minus rank by steps" }, "evaluation", "start-up", { text: "stayed / fell back", title: "trials that stayed on target until their log ends, and that fell back" }, { text: "how trials ended", class: "text" }], rows));
  };
  const workloads = DATA.rules_workloads;
  draw(workloads[0]);
  const provenance = DATA.provenance.map((row) => [
    { text: row.name, class: "text" }, { node: element("span", { class: row.differs ? "badge warning" : "badge" }, row.differs ? "differs" : "same"), class: "text" },
    { text: provenanceText(row), class: "text wrap" }]);
  return [
    select("Workload", workloads.map((w) => [w, w]), draw), holder,
    element("h3", {}, "Where the runs came from"),
    table([{ text: "property", class: "text" }, { text: "", class: "text" }, { text: "values", class: "text" }], provenance, { wide: true }),
  ];
}

function provenanceText(row) {
  const groups = new Map();
  for (const [submission, values] of Object.entries(row.values)) {
    const brief = (v) => (/^[0-9a-f]{40}$/.test(v) ? v.slice(0, 12) : v);
    const seen = Object.entries(values);
    const text = seen.map(([v, n]) => (seen.length === 1 ? brief(v) : `${brief(v)} (${n} trials)`)).join(", ") || "no trials";
    groups.set(text, [...(groups.get(text) ?? []), submission]);
  }
  return [...groups].map(([text, names]) => (groups.size === 1 ? text : `${names.join(", ")}: ${text}`)).join("; ");
}

function speedupSection() {
  if (!DATA.speedups.length) return [paragraph("There is nobody to compare with.")];
  const rows = DATA.speedups.map((s) => {
    const kinds = Object.values(s.kinds);
    const of = (kind) => kinds.filter((k) => k === kind).length;
    return [{ text: s.submission, class: "name", title: s.submission }, number(s.with_budgets, 3), percent(s.saved, 1), number(s.on_common, 3), `${of("exact")}`, `${of("at_least")}`, `${of("at_most")}`, `${of("unknown")}`];
  });
  return [
    paragraph(`Time of ${DATA.speedups[0].reference} over time of the submission, geometric mean over workloads; above 1 is faster. A miss has no time: the budget stands in for it, and the ratio is then a bound or unknown.`, "lead"),
    table([{ text: "submission", class: "text" }, "speedup", "time saved", "where both reached", "exact", "at least", "at most", "unknown"], rows),
  ];
}

function notesSection() {
  const findings = DATA.findings.map((f) => element("li", {}, element("span", { class: `badge ${f.severity}` }, f.severity), ` ${f.path}: ${f.message}`));
  const differences = DATA.differences.map((d) => [{ text: d.kind.replaceAll("_", " "), class: "text" }, { text: d.submission, class: "name", title: d.submission }, { text: d.workload ?? "", class: "text" },
    d.study === null ? "" : String(d.study), significant(d.algoperf, 6), significant(d.rules, 6), { text: d.reason, class: "text wrap" }]);
  const conflicts = DATA.rule_conflicts.map((c) => element("li", {}, `${c.submission}, ${c.workload}: ${c.what} ${c.recorded} in ${c.trials} trials, ${c.rules} by the rules`));
  return [
    element("details", {}, element("summary", {}, `Findings about the logs (${findings.length})`), element("ul", { class: "plain" }, findings)),
    element("details", {}, element("summary", {}, `Recorded targets and budgets that are not the rules' (${conflicts.length})`), element("ul", { class: "plain" }, conflicts)),
    element("details", {}, element("summary", {}, `Where AlgoPerf's scorer and the written rules differ (${differences.length})`),
      paragraph("– stands for a miss, or for what AlgoPerf's scorer does not see.", "note"),
      table([{ text: "kind", class: "text" }, { text: "submission", class: "text" }, { text: "workload", class: "text" }, "study", "AlgoPerf", "rules", { text: "reason", class: "text" }], differences)),
  ];
}
