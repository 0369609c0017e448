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
      { text: String(row.rank), class: "big" }, { text: `${row.rank_low}–${row.rank_high}`, sort: `${row.rank_low} to ${row.rank_high}` },
      { node: element("span", { class: "badge" }, String(row.tie_group)), sort: row.tie_group },
      nameCell(i), { text: row.score.toFixed(4), class: "big", sort: row.score }, { node: graphic, class: "text", sort: interval },
      { text: row.score_best_of_k.toFixed(3), sort: row.score_best_of_k }, { text: `${row.workloads_solved}/${base}`, sort: row.workloads_solved },
      String(row.trials_missing + row.trials_unreadable), ...costCells(row.submission),
    ];
  });
  const head = ["rank", { text: "ranks", title: "ranks that the comparison of all pairs leaves open" }, "tie group", { text: "submission", class: "text" }, "score",
    { text: "95 % interval", class: "text" }, { text: "best-of-k", title: "score from all trials instead of one deal into studies" }, "workloads", "trials lost", ...costHeads()];
  const by = DATA.mode === "rules" ? "the written rules" : "AlgoPerf's scorer; intervals are those of the score by the written rules";
  return [
    paragraph(`Scores by ${by}. A heavy line starts a new tie group: everybody above it is distinguished from everybody below. Sets of ranks hold together at 95 %.`, "lead"),
    table("Leaderboard", head, rows, { wide: true, rowClass: (k) => (k > 0 && groups[k] !== groups[k - 1] ? "group-start" : "") }),
    element("h3", {}, "What this board can and cannot show"),
    element("ul", { class: "plain" }, DATA.statements.map((s) => element("li", {}, s))),
  ];
}

function ladderSection() {
  const { rows: entries, pairs, targets, tau_with_official: tau } = DATA.ladder;
  const rungs = targets[0].length, passable = rungs * targets.length;
  const rows = entries.map((row) => [{ text: String(row.rank), class: "big" }, { text: `${row.rank_low}–${row.rank_high}`, sort: `${row.rank_low} to ${row.rank_high}` }, String(row.tie_group),
    nameCell(NAMES.indexOf(row.submission)), { text: number(row.score, 4), class: "big", sort: row.score },
    row.score_low === null ? "not known" : `${row.score_low.toFixed(3)} to ${row.score_high.toFixed(3)}`,
    ...row.scores_by_rung.map((score) => ({ text: number(score, 3), sort: score })), { text: `${row.rungs_passed}/${passable}`, sort: row.rungs_passed }]);
  const head = ["rank", "ranks", "tie group", { text: "submission", class: "text" }, "ladder score", "95 % interval",
    ...targets[0].map((_, k) => (k + 1 === rungs ? "official target" : `target ${k + 1}`)), { text: "passed", title: "targets passed on all workloads" }];
  const verdicts = pairs.filter((pair) => pair.verdict !== null).map((pair) => `${pair.verdict} is better than ${pair.verdict === pair.a ? pair.b : pair.a}`);
  return [
    paragraph(`Mean of the scores with ${rungs} targets on each workload, easier ones first, the last the official one. It does not replace the official score. Kendall's tau between the two orders: ${number(tau, 2)}.`, "lead"),
    table("Ladder of targets", head, rows, { wide: true }),
    paragraph(verdicts.length ? `By the ladder ${verdicts.join("; ")}.` : "By the ladder no two submissions are distinguished."),
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
    const style = time === null ? "" : diverging(-Math.log(time / fastest[j]), -Math.log(2), Math.log(2));
    const title = time === null ? "not on target within the budget" : `${significant(time, 6)} ${unitFor(0).name}, ${(time / fastest[j]).toFixed(2)} times the fastest${counts ? "" : "; does not count (cutoff or held-out workload)"}`;
    return { node: link(text, pageOf(i, w)), class: time === null ? "cell missed" : "cell", style, title, sort: time };
  })]);
  return [
    paragraph("Median time to target over studies. Blue is near the fastest, orange near or beyond four times it; ✕ does not count because of the cutoff or a held-out workload.", "lead"),
    scale("fastest", "twice its time", "four times and beyond"), table("Times to target", head, rows),
  ];
}

function studiesNeeded(d) {
  if (d.verdict !== null) return "enough";
  if (d.studies_needed_low === null) return RULES.tuning.studies < 2 ? "–" : "over 1000";
  return d.studies_needed_high === null ? `${d.studies_needed_low} or more` : `${d.studies_needed_low} to ${d.studies_needed_high}`;
}

function beatsSection() {
  if (NAMES.length < 2) return [paragraph("There is nobody to compare with.")];
  const head = [{ text: "row minus column", class: "text" }, ...ORDER.map((_, place) => ({ text: String(place + 1), title: NAMES[ORDER[place]], label: NAMES[ORDER[place]] }))];
  const { difference, p_adjusted: p, better } = DATA.separation;
  const rows = ORDER.map((i, place) => [{ node: element("span", {}, `${place + 1}  `, link(NAMES[i], pageOf(i))), class: "name", title: NAMES[i], header: true }, ...ORDER.map((j) => (i === j ? { text: "·", class: "cell", sort: 0 } : {
    sort: difference[i][j], text: `${difference[i][j] > 0 ? "+" : ""}${number(difference[i][j], 3)}`, class: "cell", style: better[i][j] ? diverging(1, 0, 1) : better[j][i] ? diverging(-1, 0, 1) : "",
    title: `${NAMES[i]} minus ${NAMES[j]}: ${better[i][j] ? "better" : better[j][i] ? "worse" : "not distinguished"}, adjusted p ${number(p[i][j], 4)}`,
  }))]);
  const comparisons = DATA.head_to_head.map((d) => [
    { text: d.a, class: d.verdict === d.a ? "name" : "name plain", title: d.a }, { text: d.b, class: d.verdict === d.b ? "name" : "name plain", title: d.b },
    { node: d.verdict === null ? element("span", { class: "badge" }, "not distinguished") : d.verdict === d.a ? "A" : "B", class: "text" },
    { text: number(d.difference, 3), sort: d.difference }, { text: number(d.p_adjusted, 4), sort: d.p_adjusted }, { text: `${d.wins_a}:${d.wins_b}`, sort: `${d.wins_a} to ${d.wins_b}` },
    { text: number(d.time_ratio, 3), sort: d.time_ratio }, studiesNeeded(d),
  ]);
  const comparisonTable = table("Every pair", [{ text: "A", class: "text" }, { text: "B", class: "text" }, { text: "better", class: "text" }, { text: "A − B", title: "difference of the scores" }, "adjusted p", "wins", "time A / B", { text: "studies needed", title: "10 to 90 % range" }], comparisons, { wide: true });
  return [
    paragraph("Score of the row minus score of the column. Coloured where the two are distinguished. Where all are equal, the chance of any claim on a board is at most 5 %.", "lead"),
    scale("row is better", "not distinguished", "column is better"), table("Differences of scores", head, rows),
    element("h3", {}, "Every pair"),
    paragraph("Verdicts, ranks and tie groups come from one comparison, adjusted for all pairs of the board. The last column: how many studies per submission, in all, would distinguish a pair with a power of 80 %.", "lead"),
    folded("All pairs", comparisons.length, comparisonTable),
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
    select("Scenario", groups, draw), summary, chips(false), holder,
    element("h3", {}, "Targets reached over time"),
    paragraph("Share of all pairs of study and target (90 to 101 % of each workload's target) that were reached by a share of the budget. Runs stop soon after the real target and at the budget: what lies beyond counts only where it was logged.", "lead"),
    chips(false), ecdfChart(),
  ];
}

function speedupSection() {
  if (!DATA.speedups.length) return [paragraph("There is nobody to compare with.")];
  const rows = DATA.speedups.map((s) => {
    const kinds = Object.values(s.kinds);
    const of = (kind) => kinds.filter((k) => k === kind).length;
    return [nameCell(NAMES.indexOf(s.submission)), { text: number(s.with_budgets, 3), sort: s.with_budgets }, { text: percent(s.saved, 1), sort: s.saved }, { text: number(s.on_common, 3), sort: s.on_common }, `${of("exact")}`, `${of("at_least")}`, `${of("at_most")}`, `${of("unknown")}`];
  });
  return [
    paragraph(`Time of ${DATA.speedups[0].reference} over time of the submission, geometric mean over workloads; above 1 is faster. A miss has no time: the budget stands in for it, and the ratio is then a bound or unknown.`, "lead"),
    table(`Speedups over ${DATA.speedups[0].reference}`, [{ text: "submission", class: "text" }, "speedup", "time saved", "where both reached", "exact", "at least", "at most", "unknown"], rows),
  ];
}
