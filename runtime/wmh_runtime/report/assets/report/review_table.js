// reviews.tsv, with the same rules as the tables of the program: files/tables.py.

const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;
const plainCell = (text) => (!NUMBER.test(text) && /^[=+\-@\t\r\n']/.test(text) ? `'${text}` : text);
const textOfCell = (cell) => (/^'[=+\-@\t\r\n']/.test(cell) ? cell.slice(1) : cell);
const quoted = (text) => (/["\t\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

function asTable() {
  // A mark that was taken away has a row without a decision, so that no older one counts again.
  const marks = [...others.values(), ...data.scans.flatMap((scan) => [...marksOf(scan).values()])];
  const rows = marks.map((mark) => data.columns.map((column) => quoted(plainCell(String(mark[column] ?? "")))));
  return [data.columns, ...rows].map((row) => `${row.join("\t")}\n`).join("");
}

function cellsOf(text) {
  const rows = [[]];
  const pattern = /(?:"((?:[^"]|"")*)"|([^\t\r\n]*))(\t|\r\n|\n|\r|$)/g;
  for (const [, inQuotes, bare, end] of text.matchAll(pattern)) {
    rows.at(-1).push(inQuotes === undefined ? bare : inQuotes.replaceAll('""', '"'));
    if (end === "") break;
    if (end !== "\t") rows.push([]);
  }
  return rows.filter((row) => row.some(Boolean));
}

function readTable(text, modified) { // a mark without a time has that of the file
  const [names = [], ...rows] = cellsOf(text.replace(/^\uFEFF/, ""));
  const head = names.map((name) => name.trim().toLowerCase());
  if (!["scan", "decision"].every((name) => head.includes(name))) return null;
  return rows.map((row) => Object.fromEntries(
    data.columns.map((column) => [column, textOfCell(row[head.indexOf(column)] ?? "").trim()])))
    .map((mark) => ({ ...mark, decision: filled(mark.decision.toLowerCase()), time: inUtc(filled(mark.time) || modified) }))
    .filter((mark) => mark.decision === "" || mark.decision in data.decisions);
}

const filled = (cell) => (cell === "n/a" ? "" : cell); // as the program reads it

function inUtc(text) {
  const hasZone = /(?:Z|[+-]\d\d:?\d\d)$/.test(text);
  const time = new Date(hasZone || !text.includes(":") ? text : `${text}Z`);
  return isNaN(time) ? "" : time.toISOString().replace(/\.\d+Z$/, "Z");
}

function download() {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([asTable()], { type: "text/tab-separated-values" }));
  link.download = data.reviewsName;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  say(`Saved ${data.reviewsName}. Give it to the next run of the program: it keeps the marks with the results.`);
}

async function load(file) {
  const marks = readTable(await file.text(), new Date(file.lastModified).toISOString());
  if (!marks) { say(`${file.name} is no table of reviews.`); return; }
  const known = others.size;
  for (const mark of marks) takeReview(mark);
  for (const scan of data.scans) {
    const mark = reviews.get(scan.id);
    if (mark && !isOutdated(scan, mark)) store.write(keyOf(scan), JSON.stringify(mark));
    showReview(scan);
  }
  applyFilters();
  const missing = others.size - known;
  say(`Loaded ${marks.length} reviews from ${file.name}${missing ? `; ${missing} are of scans that are not on this page` : ""}. Where both exist, the newer mark counts.`);
}

let silence;
function say(text) {
  $("#message").textContent = text;
  clearTimeout(silence);
  silence = setTimeout(() => { $("#message").textContent = ""; }, 20000);
}
