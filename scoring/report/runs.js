"use strict";
// How runs came to their times, which came near, and what was noticed about them.
function folded(caption, count, node) {
  return count > (matchMedia("(max-width: 700px)").matches ? 8 : 60) ? element("details", {}, element("summary", {}, `${caption} (${count} rows)`), node) : node;
}
function workloadCell(w) { return { node: link(w, pageOf(null, w)), class: "text", title: w }; }
function signed(n) { return n > 0 ? `+${n}` : String(n).replace("-", "−"); }

function stepsSection() {
  const rows = ORDER.flatMap((i) => DATA.rules_workloads.map((w) => {
    const d = diagnosticsOf(i, w), r = resultOf(i, w);
    const shift = d.rank_by_time === null || d.rank_by_steps === null ? null : d.rank_by_time - d.rank_by_steps;
    return [nameCell(i), workloadCell(w), { text: duration(r.time_s, RULES.workloads[w].budget_s), sort: r.time_s }, { text: significant(d.steps_to_target, 4), sort: d.steps_to_target },
      { text: significant(d.step_s), sort: d.step_s }, number(d.rank_by_time, 0), number(d.rank_by_steps, 0), { text: shift === null ? "–" : signed(shift), sort: shift }];
  }));
  const head = [{ text: "submission", class: "text" }, { text: "workload", class: "text" }, "time", "steps to target", { text: "s per step", title: "median, without start-up" }, "rank by time", "rank by steps",
    { text: "rank shift", title: "rank by time minus rank by steps" }];
  return [
    paragraph("Time to target is steps times step time. A positive shift: the submission needs fewer steps than its place by time says, since each of them takes longer.", "lead"),
    folded("Time and steps", rows.length, table("Time and steps to target", head, rows, { wide: true })),
  ];
}

function nearMissesSection() {
  if (!DATA.near_misses.length) return [paragraph("Every trial reached its target within the budget.")];
  const rows = DATA.near_misses.map((m) => [nameCell(NAMES.indexOf(m.submission)), workloadCell(m.workload), String(m.study), String(m.trial),
    { text: percent(m.distance_to_target, 2), sort: m.distance_to_target }, { text: significant(m.best_validation, 5), sort: m.best_validation }, { text: significant(m.validation_target, 6), sort: m.validation_target },
    { text: percent(m.last_time_s / m.budget_s), sort: m.last_time_s / m.budget_s }, { text: m.outcome.replaceAll("_", " "), class: "text" }]);
  const head = [{ text: "submission", class: "text" }, { text: "workload", class: "text" }, "study", "trial", { text: "distance", title: "from the target, over its size" }, "best value", "target",
    { text: "of the budget", title: "share of the budget at the last evaluation" }, { text: "ended", class: "text" }];
  return [
    paragraph("Trials that missed their target within the budget, the nearest first.", "lead"),
    folded("Near misses", rows.length, table("Near misses", head, rows, { wide: true })),
  ];
}

function diagnosticsSection() {
  const rows = ORDER.flatMap((i) => DATA.rules_workloads.map((w) => {
    const d = diagnosticsOf(i, w);
    return [nameCell(i), workloadCell(w), { text: percent(d.step_s_spread, 1), sort: d.step_s_spread }, { text: percent(d.evaluation_share), sort: d.evaluation_share },
      { text: d.startup_s === null ? "–" : duration(d.startup_s), sort: d.startup_s }, String(d.sustained), String(d.first_only),
      { text: Object.entries(d.outcomes).map(([o, n]) => `${n} ${o.replaceAll("_", " ")}`).join(", "), class: "text wrap short" }];
  }));
  const head = [{ text: "submission", class: "text" }, { text: "workload", class: "text" }, { text: "spread of step time", title: "median absolute deviation over median" }, "evaluation", "start-up",
    { text: "stayed", title: "trials that stayed on target until their log ends" }, { text: "fell back", title: "trials that left the target again" }, { text: "how trials ended", class: "text" }];
  return [folded("Diagnostics", rows.length, table("Diagnostics", head, rows, { wide: true }))];
}

function publishedSection() {
  const { against } = DATA;
  const rows = against.rows.map((row) => [String(row.joint_rank), { text: row.submission, class: "name", title: row.submission, header: true }, { text: row.published ? "published" : "new", class: "text" },
    { text: number(row.score, 4), sort: row.score }, { text: number(row.joint_score, 4), sort: row.joint_score }]);
  return [
    paragraph(`${against.board.title}. Scores by a ${against.reference}; joint scores are those on a board of all of them.`, "lead"),
    table("On the published board", ["joint rank", { text: "submission", class: "text" }, { text: "times", class: "text" }, "score", "joint score"], rows, { wide: true }),
  ];
}

const SEVERITIES = ["error", "warning", "note"];
function severityCounts() { return SEVERITIES.map((s) => [s, DATA.findings.filter((f) => f.severity === s).length]); }

function findingsSummary() {
  const counts = severityCounts().filter(([, n]) => n).map(([s, n]) => count(n, s, `${s}s`));
  const differing = DATA.provenance.filter((row) => row.differs).length;
  return [
    paragraph(`${counts.join(", ") || "No findings"}; the runs differ in ${differing} of ${count(DATA.provenance.length, "recorded property", "recorded properties")}; ${count(DATA.differences.length, "difference", "differences")} between AlgoPerf's scorer and the written rules.`),
    element("p", {}, link("All findings, provenance and differences", "#findings")),
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

function badgeCell(text, kind) { return { node: element("span", { class: `badge ${kind}` }, text), class: "text", title: text }; }

function findingsPage() {
  const findings = [...DATA.findings].sort((a, b) => SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity));
  const rows = findings.map((f) => [{ ...badgeCell(f.severity, f.severity), sort: `${SEVERITIES.indexOf(f.severity) + 1} ${f.severity}` }, { text: f.path, class: "text wrap" }, { text: f.code.replaceAll("_", " "), class: "text" }, { text: f.message, class: "text wrap" }]);
  const provenance = DATA.provenance.map((row) => [{ text: row.name, class: "text", header: true }, row.differs ? badgeCell("differs", row.severity) : badgeCell("same", ""), { text: provenanceText(row), class: "text wrap" }]);
  const conflicts = DATA.rule_conflicts.map((c) => [{ text: c.submission, class: "name", title: c.submission, header: true }, { text: c.workload, class: "text" }, { text: c.what, class: "text" }, String(c.recorded), String(c.rules), String(c.trials)]);
  const differences = DATA.differences.map((d) => [{ text: d.kind.replaceAll("_", " "), class: "text" }, { text: d.submission, class: "name", title: d.submission }, { text: d.workload ?? "", class: "text" },
    d.study === null ? "" : String(d.study), { text: significant(d.algoperf, 6), sort: d.algoperf }, { text: significant(d.rules, 6), sort: d.rules }, { text: d.reason, class: "text wrap" }]);
  const text = (name) => ({ text: name, class: "text" });
  return [
    element("h2", {}, "Findings"),
    element("div", { class: "tiles" }, severityCounts().map(([s, n]) => tile(String(n), n === 1 ? s : `${s}s`))),
    paragraph("Error: the board is in doubt. Warning: something counts as a miss or is not used. Note: nothing is lost.", "lead"),
    rows.length ? table("Findings", ["severity", "where", "kind", "what"].map(text), rows, { wide: true }) : paragraph("None."),
    element("h2", {}, "Where the runs came from"),
    table("Provenance", [text("property"), text("between runs"), text("values")], provenance, { wide: true }),
    element("h2", {}, "What runs recorded that is not the rules'"),
    conflicts.length ? table("Recorded values and the rules", [text("submission"), text("workload"), text("what"), "recorded", "rules", "trials"], conflicts, { wide: true }) : paragraph("Nothing."),
    element("h2", {}, "Where AlgoPerf's scorer and the written rules differ"),
    paragraph("– stands for a miss, or for what AlgoPerf's scorer does not see.", "note"),
    differences.length ? table("Differences of the two scorers", [text("kind"), text("submission"), text("workload"), "study", "AlgoPerf", "rules", text("reason")], differences, { wide: true }) : paragraph("Nowhere."),
  ];
}
