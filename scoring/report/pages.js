"use strict";
// Front page, a page for each submission, each workload, each pair of them, and the findings; the address says which.
const SECTIONS = [
  ["leaderboard", "Leaderboard", leaderboardSection], ["profile", "Profiles", profileSection], ["times", "Times to target", timesSection],
  ["beats", "Who beats whom", beatsSection], ...(DATA.ladder ? [["ladder", "Ladder of targets", ladderSection]] : []), ["curves", "Training curves", curvesSection], ["steps", "Time and steps", stepsSection],
  ...(DATA.costs ? [["costs", "Cost", costsSection]] : []), ["near_misses", "Near misses", nearMissesSection], ["sensitivity", "Sensitivity", sensitivitySection], ["diagnostics", "Diagnostics", diagnosticsSection],
  ["speedups", "Speedups", speedupSection], ...(DATA.against ? [["published", "Published board", publishedSection]] : []), ["noticed", "Findings", findingsSummary],
];

function resultRow(i, workload, first) {
  const r = resultOf(i, workload);
  const budget = RULES.workloads[workload].budget_s;
  const low = r.time_low_s === null ? "miss" : duration(r.time_low_s, budget), high = r.time_high_s === null ? "miss" : duration(r.time_high_s, budget);
  return [first, { node: link(duration(r.time_s, budget), pageOf(i, workload)), sort: r.time_s }, { text: r.time_low_s === null ? "–" : `${low} to ${high}`, sort: r.time_low_s },
    { text: number(r.ratio, 3), sort: r.ratio }, { text: duration(r.best_of_k_s, budget), sort: r.best_of_k_s }, { text: duration(r.law.restricted_mean_s, budget), sort: r.law.restricted_mean_s },
    { text: `${r.law.reached}/${r.law.trials}`, sort: r.law.trials ? r.law.reached / r.law.trials : null }, `${percent(r.law.success_low)} to ${percent(r.law.success_high)}`];
}
const RESULT_HEAD = ["time", { text: "studies", title: "fastest and slowest study" }, { text: "ratio", title: "over the fastest, after the filters" }, "best of k", { text: "restricted mean", title: "a miss counts as the budget" }, "on target", "success, 95 %"];

// What submission_info.yml says; only addresses of the web become links.
function infoList(i) {
  const info = DATA.submission_info?.[NAMES[i]];
  if (!info) return null;
  const rows = [["Authors", info.authors.join(", ")], ["Affiliations", info.affiliations.join(", ")], ["Version", info.version], ["Licence", info.license], ["Description", info.description]];
  const links = info.links.filter((address) => /^https?:\/\//.test(address)).map((address) => element("a", { href: address, rel: "noopener noreferrer" }, `${address} `));
  return element("dl", { class: "info" }, rows.filter(([, text]) => text).flatMap(([term, text]) => [element("dt", {}, term), element("dd", {}, text)]),
    links.length ? [element("dt", {}, "Links"), element("dd", {}, links)] : null);
}

function submissionPage(i) {
  const row = DATA.leaderboard[ORDER.indexOf(i)];
  const rows = DATA.rules_workloads.map((w) => resultRow(i, w, { ...workloadCell(w), header: true }));
  const rivals = DATA.head_to_head.filter((d) => d.a === NAMES[i] || d.b === NAMES[i]).map((d) => {
    const mine = d.a === NAMES[i];
    const verdict = d.verdict === null ? "not distinguished" : d.verdict === NAMES[i] ? "better" : "worse";
    const rival = NAMES.indexOf(mine ? d.b : d.a);
    return [nameCell(rival), { text: verdict, class: "text" }, number(mine ? d.difference : -d.difference, 3), { text: number(d.p_adjusted, 4), sort: d.p_adjusted }, mine ? `${d.wins_a} to ${d.wins_b}` : `${d.wins_b} to ${d.wins_a}`,
      d.time_ratio === null ? "–" : number(mine ? d.time_ratio : 1 / d.time_ratio, 3), studiesNeeded(d)];
  });
  return [
    element("h2", {}, breakable(NAMES[i])),
    element("div", { class: "tiles" }, tile(row.score.toFixed(4), "score"), tile(row.score_low === null ? "–" : `${row.score_low.toFixed(3)}–${row.score_high.toFixed(3)}`, "95 % interval"),
      tile(`${row.rank} (${row.rank_low}–${row.rank_high})`, "rank and the ranks it may have"), tile(`${row.workloads_solved}/${RULES.base_workloads.length}`, "workloads that count"),
      tile(row.score_best_of_k.toFixed(3), "best-of-k score"), tile(String(row.trials_missing + row.trials_unreadable), "trials lost")),
    infoList(i), element("h3", {}, "Workloads"), table(`Workloads of ${NAMES[i]}`, [{ text: "workload", class: "text" }, ...RESULT_HEAD], rows, { wide: true }),
    element("h3", {}, "Against each rival"), table(`Rivals of ${NAMES[i]}`, [{ text: "rival", class: "text" }, { text: "verdict", class: "text" }, "score difference", "adjusted p", "workloads won", "time ratio", "studies needed"], rivals),
  ];
}

function workloadPage(workload) {
  const rule = RULES.workloads[workload];
  const timed = DATA.rules_workloads.includes(workload);
  const rows = timed ? ORDER.map((i) => resultRow(i, workload, nameCell(i))) : [];
  return [
    element("h2", {}, breakable(workload)),
    element("div", { class: "tiles" }, tile(significant(rule.validation_target, 6), `target of validation ${rule.metric}, to ${rule.direction}`), tile(duration(rule.budget_s), "budget"), tile(String(rule.step_hint), "step hint")),
    chips(false), curvesChart(workload), table(`Times on ${workload}`, [{ text: "submission", class: "text" }, ...RESULT_HEAD], rows, { wide: true }),
  ];
}

function pairPage(i, workload) {
  if (!DATA.rules_workloads.includes(workload)) return workloadPage(workload);
  const r = resultOf(i, workload), d = diagnosticsOf(i, workload), rule = RULES.workloads[workload];
  const studies = r.study_times_s.map((t) => duration(t, rule.budget_s)).join(", ");
  const ended = Object.entries(d.outcomes).map(([o, n]) => `${n} ${o.replaceAll("_", " ")}`).join(", ") || "no trials";
  return [
    element("h2", {}, link(NAMES[i], pageOf(i)), " on ", link(workload, pageOf(null, workload))),
    element("div", { class: "tiles" }, tile(duration(r.time_s, rule.budget_s), "time to target"), tile(`${r.law.reached}/${r.law.trials}`, `trials on target (${percent(r.law.success_low)}–${percent(r.law.success_high)})`),
      tile(duration(r.law.restricted_mean_s, rule.budget_s), `restricted mean, ± ${significant((r.law.standard_error_s ?? 0) / unitFor(rule.budget_s).size)} ${unitFor(rule.budget_s).name}`),
      tile(significant(d.steps_to_target, 4), "steps to target"), tile(significant(d.step_s), `${CLOCK_UNIT ?? "seconds"} per step`), tile(percent(d.evaluation_share), "of wall time in evaluation")),
    paragraph(`Study times: ${studies}. Trials: ${ended}; ${d.sustained} stayed on target, ${d.first_only} fell back after the first passage.`),
    curvesChart(workload, i),
    element("div", { class: "pair" },
      element("div", {}, element("h3", {}, "Chance to be on target"), lawChart(r, rule.budget_s, i)),
      element("div", {}, element("h3", {}, "Best of k runs"), tuningChart(r, rule.budget_s, i))),
  ];
}

function indexOf(given) {
  if (given === null) return null;
  const named = NAMES.indexOf(given);
  if (named >= 0) return named;
  return /^\d+$/.test(given) && Number(given) < NAMES.length ? Number(given) : null;
}

function detailPage() {
  const wanted = location.hash.slice(1);
  if (wanted === "findings") return findingsPage();
  const query = new URLSearchParams(wanted);
  const i = indexOf(query.get("submission"));
  const workload = Object.hasOwn(RULES.workloads, query.get("workload")) ? query.get("workload") : null;
  if (i === null) return workload === null ? null : workloadPage(workload);
  return workload === null ? submissionPage(i) : pairPage(i, workload);
}

function draw() {
  const main = document.getElementById("main");
  for (const plot of main.querySelectorAll(".plot")) if (plot.drawn) Plotly.purge(plot);
  LISTENERS.length = 0;
  const detail = detailPage();
  main.replaceChildren(...(detail ? [element("p", {}, link("← All results", "#leaderboard")), ...detail.filter(Boolean)]
    : SECTIONS.map(([id, title, make]) => element("section", { id }, element("h2", {}, title), make()))));
  const heading = main.querySelector("h2").textContent;
  document.title = detail ? `${heading} – ${TITLE}` : TITLE;
  document.body.dataset.page = detail ? "detail" : "front";
}

function onHash() {
  const wanted = location.hash.slice(1);
  const isSection = wanted === "" || SECTIONS.some(([id]) => id === wanted);
  if (!(isSection && document.body.dataset.page === "front")) draw();
  const anchor = isSection && wanted ? document.getElementById(wanted) : null;
  if (anchor) anchor.scrollIntoView(); else scrollTo(0, 0);
  for (const part of document.querySelectorAll("#sections a")) part.classList.toggle("current", part.hash === location.hash);
}

const TITLE = document.title;
applyTheme();
document.getElementById("sections").replaceChildren(...SECTIONS.map(([id, title]) => element("a", { href: `#${id}` }, title)));
document.getElementById("verdict").textContent = DATA.verdict;
document.getElementById("facts").textContent =
  `${RULES.description}. ${count(NAMES.length, "submission", "submissions")}, ${count(RULES.base_workloads.length, "workload", "workloads")}` +
  `${Object.keys(RULES.held_out).length ? ` and ${Object.keys(RULES.held_out).length} held-out` : ""}, ` +
  `${count(RULES.tuning.studies, "study", "studies")} × ${count(RULES.tuning.trials_per_study, "trial", "trials")}, ${RULES.tuning.name} tuning${CLOCK_WORDS ? `, times in ${CLOCK_WORDS}` : ""}.`;
document.getElementById("footer").textContent =
  `Bootstrap of ${DATA.replicates} boards, seed ${DATA.seed}. The same numbers are in results.json beside this file; docs/scoring.md explains the methods.`;
document.getElementById("theme").append(themeSwitch(draw));
preparePrint(draw);
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); document.getElementById("main").focus(); });
addEventListener("hashchange", onHash);
onHash();
document.body.dataset.ready = "yes";
