"use strict";
// Tables that can be sorted, filtered and saved as CSV. A cell is text, or {text|node, sort, header, class, style, title};
// `sort` is what it sorts by and what the CSV file holds, where that is not its text; a head may have a longer `label`.
function download(name, content, type) {
  const url = content.startsWith("data:") ? content : URL.createObjectURL(new Blob([content], { type }));
  const anchor = element("a", { href: url, download: name });
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
function fileName(text, ending) { return `${text.toLowerCase().replace(/[^a-z0-9]+/g, "_").replace(/^_+|_+$/g, "").slice(0, 80)}.${ending}`; }

// A spreadsheet takes text that starts with one of these for a formula.
function csvField(value) {
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) && !Number.isFinite(Number(value)) ? `'${value}` : String(value ?? "");
  return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}
function csv(rows) { return `${rows.map((row) => row.map(csvField).join(",")).join("\r\n")}\r\n`; }

function cellText(cell) {
  if (typeof cell !== "object" || cell === null) return String(cell ?? "");
  return cell instanceof Node ? cell.textContent : cell.node ? cell.title ?? cell.node.textContent : String(cell.text ?? "");
}
// Infinity and text like "miss" or "–" sort last; numbers before them, whatever unit follows.
function sortKey(cell) {
  if (cell !== null && typeof cell === "object" && "sort" in cell) return cell.sort;
  const text = cellText(cell).trim();
  const value = Number.parseFloat(text.replace("−", "-"));
  return Number.isFinite(value) && /^[+−-]?[\d.]/.test(text) ? value : ["miss", "–", "not known", ""].includes(text) ? null : text;
}
function compareKeys(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
}

function tableCell(tag, cell, more) {
  const plain = typeof cell !== "object" || cell === null || cell instanceof Node;
  const { text, node, sort, header, ...attributes } = plain ? { text: cell } : cell;
  return element(tag, { ...attributes, ...more }, node ?? text ?? "");
}

function tableLines(rows, titles, rowClass) {
  return rows.map((row, k) => ({
    row, place: k,
    node: element("tr", { role: "row", class: rowClass(k) }, row.map((cell, c) => (cell?.header
      ? tableCell("th", cell, { scope: "row", role: "rowheader", "data-label": titles[c] })
      : tableCell("td", cell, { role: "cell", "data-label": titles[c] })))),
  }));
}

function tableHeads(head, titles, sortBy) {
  return head.map((cell, c) => {
    const { text, node, class: kind, title } = typeof cell === "object" ? cell : { text: cell };
    const button = element("button", { type: "button", class: "sort", title: title ?? "sort", "aria-label": node ? `sort by ${titles[c]}` : null, onclick: () => sortBy(c) }, node ? "↕" : text);
    return element("th", { role: "columnheader", scope: "col", class: kind, "aria-sort": "none" }, node ?? null, button);
  });
}

// Rows in the order asked for; what has no value is last in both directions, and equal rows stay in the given order.
function sortLines(lines, { column, falling }) {
  const sign = falling ? -1 : 1;
  lines.sort((p, q) => {
    if (column === null) return p.place - q.place;
    const a = sortKey(p.row[column]), b = sortKey(q.row[column]);
    return (a === null || b === null ? compareKeys(a, b) : sign * compareKeys(a, b)) || p.place - q.place;
  });
}

function tableFile(titles, lines) {
  const exact = (cell) => (cell !== null && typeof cell === "object" && "sort" in cell ? cell.sort : cellText(cell));
  return csv([titles, ...lines.map(({ row }) => row.map(exact))]);
}

function table(caption, head, rows, { wide = false, rowClass = () => "" } = {}) {
  const titles = head.map((cell) => cell.label ?? cellText(cell));
  const lines = tableLines(rows, titles, rowClass);
  const state = { column: null, falling: false, words: [] };
  const shownLines = () => lines.filter(({ node }) => state.words.every((word) => node.textContent.toLowerCase().includes(word)));
  const change = (changes) => {
    Object.assign(state, changes);
    sortLines(lines, state);
    body.replaceChildren(...shownLines().map((line) => line.node));
    grid.classList.toggle("sorted", state.column !== null);
    headers.forEach((cell, c) => cell.setAttribute("aria-sort", state.column !== c ? "none" : state.falling ? "descending" : "ascending"));
  };
  // rising, falling, as given
  const headers = tableHeads(head, titles, (column) => change(state.column !== column ? { column, falling: false } : state.falling ? { column: null, falling: false } : { falling: true }));
  const body = element("tbody", { role: "rowgroup" }, lines.map((line) => line.node));
  const grid = element("table", { role: "table", class: `${wide ? "wide" : ""} ${head.length > 12 ? "dense" : ""}`.trim() }, element("caption", { class: "unseen" }, caption),
    element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, headers)), body);
  const chooser = select("Sort by", [["", "given order"], ...titles.map((title, c) => [String(c), title])], (value) => change({ column: value === "" ? null : Number(value), falling: false }));
  chooser.classList.add("narrow");
  const filter = element("input", { type: "search", placeholder: "Filter rows", "aria-label": `Filter rows: ${caption}` });
  filter.addEventListener("input", () => change({ words: filter.value.toLowerCase().split(/\s+/).filter(Boolean) }));
  const save = element("button", { type: "button", class: "tool", "data-save": "csv", title: "rows as shown, in full precision", "aria-label": `Save as CSV: ${caption}`,
    onclick: () => download(fileName(caption, "csv"), tableFile(titles, shownLines()), "text/csv") }, "CSV");
  return element("div", { class: "tabular" }, element("div", { class: "tools" }, rows.length > 1 ? [filter, chooser] : null, save),
    element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, grid));
}
