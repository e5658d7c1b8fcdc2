// The table of scans: sort and filter.

const body = $("#table tbody");
const rows = $$("tr", body);
const rowOf = new Map(rows.map((row) => [row.dataset.id, row]));
// Without a plot, if all scans of an output are excluded, there are no dots.
const dotOf = new Map($$(".dot").map((dot) => [dot.dataset.id, dot]));
const inOrder = new Intl.Collator("en", { numeric: true }).compare;

function sortBy(head) {
  const heads = $$("#table th");
  const column = heads.indexOf(head);
  const isNumber = head.dataset.kind === "number";
  const first = isNumber ? "descending" : "ascending";
  const second = isNumber ? "ascending" : "descending";
  const direction = head.getAttribute("aria-sort") === first ? second : first;
  for (const one of heads) one.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const value = (row) => row.cells[column].dataset.v;
  $$("tr", body).sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === "" || y === "") return (x === "") - (y === ""); // what is not known comes last
    return sign * (isNumber ? x - y : inOrder(x, y));
  }).forEach((row) => body.append(row));
  showPlace();
}

function isShown(row) {
  const words = $("#filter-text").value.toLowerCase().split(/\s+/).filter(Boolean);
  const band = $("#filter-band").value, review = $("#filter-review").value;
  const output = $("#filter-output")?.value;
  const mark = reviews.get(row.dataset.id);
  const text = `${row.dataset.text} ${mark?.note ?? ""}`.toLowerCase();
  const decision = isMark(mark) ? mark.decision || "note" : "";
  return words.every((word) => text.includes(word))
    && (!band || row.dataset.band === band)
    && (!output || row.dataset.output === output)
    && (!$("#filter-warned").checked || row.dataset.warned === "1")
    && (!review || (review === "any" ? decision !== "" : review === "none" ? decision === "" : decision === review));
}

function applyFilters() {
  let count = 0;
  for (const row of rows) {
    const shown = isShown(row);
    row.hidden = !shown;
    count += shown;
    dotOf.get(row.dataset.id)?.classList.toggle("out", !shown);
  }
  $("#shown").textContent = `${count} of ${rows.length} shown`;
  $("#nothing").hidden = count > 0;
  showPlace();
}

const shownIds = () => $$("tr", body).filter((row) => !row.hidden || row.dataset.id === openId).map((row) => row.dataset.id);
