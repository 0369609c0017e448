"use strict";
// What runs cost: a column or two of the leaderboard, and a page of its own. Energy that nobody measured stays unknown.
function costsOf(submission) { return DATA.costs.filter((row) => row.submission === submission); }
function total(rows, value) { return rows.length && rows.every((row) => value(row) !== null) ? rows.reduce((sum, row) => sum + value(row), 0) : null; }
function hoursOf(row) { return row.charged_h + row.uncharged_h; }
function energyOf(row) { return row.energy_charged_kwh === null ? null : row.energy_charged_kwh + row.energy_uncharged_kwh; }
function currency() { return DATA.costs.find((row) => row.currency)?.currency ?? null; }

function costHeads() {
  if (!DATA.costs) return [];
  return [{ text: "hours", title: "wall time of all trials that measured their cost" }, { text: "kWh", title: "energy of these trials; – where it was not measured" }, ...(currency() ? [{ text: currency(), title: "by the price table" }] : [])];
}
function costCells(submission) {
  if (!DATA.costs) return [];
  const rows = costsOf(submission);
  const values = [total(rows, hoursOf), total(rows, energyOf), ...(currency() ? [total(rows, (row) => row.money)] : [])];
  return values.map((value) => ({ text: significant(value), sort: value }));
}

function gigabytes(bytes) { return { text: bytes === null ? "–" : significant(bytes / 1e9), sort: bytes }; }
function figure(value) { return { text: significant(value), sort: value }; }

function costsSection() {
  const rows = DATA.costs.map((row) => [
    nameCell(NAMES.indexOf(row.submission)), workloadCell(row.workload), String(row.trials), figure(row.charged_h), figure(row.uncharged_h),
    figure(row.energy_charged_kwh), figure(row.energy_uncharged_kwh), figure(row.energy_to_target_kwh), ...(currency() ? [figure(row.money)] : []),
    gigabytes(row.host_peak_bytes), gigabytes(row.device_peak_bytes), figure(row.cpu_cores), { text: percent(row.gpu_utilisation), sort: row.gpu_utilisation },
    figure(row.gpu_clock_mhz), { text: row.throttled || "–", class: "text" }, figure(row.examples_per_s),
  ]);
  const head = [{ text: "submission", class: "text" }, { text: "workload", class: "text" }, "trials", { text: "hours charged", title: "wall time charged to the submission" }, { text: "hours beside", title: "set-up, evaluations, checkpoints" },
    "kWh charged", "kWh beside", { text: "kWh to target", title: "median of the trials that met the target" }, ...(currency() ? [currency()] : []), { text: "host GB", title: "peak resident memory" }, { text: "device GB", title: "peak memory of one device" },
    { text: "CPU cores", title: "in use on average while charged" }, "GPU use", "GPU MHz", { text: "slowed by", class: "text" }, { text: "examples / s", title: "per second of submission time" }];
  const sources = [...new Set(DATA.costs.map((row) => row.energy_of))];
  return [
    paragraph("Sums over the trials that measured their cost, charged and uncharged parts apart. A dash is a figure that could not be measured.", "lead"),
    table("Cost", head, rows, { wide: true }),
    element("h3", {}, "What the energy is of"), element("ul", { class: "plain" }, sources.map((source) => element("li", {}, source))),
  ];
}
