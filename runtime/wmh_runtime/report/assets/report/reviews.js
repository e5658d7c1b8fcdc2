// Marks of the reader: the newest one of each scan.

const reviews = new Map(); // id of a scan → its newest mark
const others = new Map(); // marks of scans that are not in this report: kept for the download
const keyOf = (scan) => `wmh-review:${scan.sha}:${scan.output}:${scan.scan}`;
const isMark = (mark) => Boolean(mark && (mark.decision || mark.note));
const isOutdated = (scan, mark) => mark.mask_sha256 !== scan.sha;

function takeReview(mark) { // the newest one counts; one without an output is of all outputs
  const scans = data.scans.filter((one) => one.scan === mark.scan && [one.output, ""].includes(mark.output));
  if (!scans.length) keepNewest(others, `${mark.output}:${mark.scan}`, mark);
  for (const scan of scans) keepNewest(reviews, scan.id, { ...mark, output: scan.output });
}

function keepNewest(marks, key, mark) {
  const known = marks.get(key);
  if (!known || known.time <= mark.time) marks.set(key, mark);
}

function keepReview(scan, change) {
  const before = reviews.get(scan.id);
  const mark = {
    scan: scan.scan, output: scan.output, decision: "", note: "", ...before, ...change,
    mask_sha256: scan.sha, time: new Date().toISOString().replace(/\.\d+Z$/, "Z"),
  };
  mark.reviewer = change.reviewer ?? (store.read("wmh-reviewer") || before?.reviewer || "");
  reviews.set(scan.id, mark);
  const isKept = store.write(keyOf(scan), JSON.stringify(mark));
  showReview(scan);
  applyFilters();
  if (!isKept) say("This browser keeps nothing for this page: download the reviews before you close it.");
}

function readKept() {
  for (const scan of data.scans) {
    try {
      const mark = JSON.parse(store.read(keyOf(scan)));
      if (mark && typeof mark.time === "string") takeReview({ ...mark, scan: scan.scan, output: scan.output });
    } catch { /* not written by this page */ }
  }
}

function showReview(scan) {
  const mark = reviews.get(scan.id);
  const cell = $("td.review", rowOf.get(scan.id));
  cell.replaceChildren();
  cell.dataset.v = "";
  const dot = dotOf.get(scan.id);
  dot?.classList.remove(...Object.keys(data.decisions));
  if (isMark(mark)) {
    cell.dataset.v = mark.decision || "note";
    const chip = make("span", `chip ${mark.decision || ""}`, mark.decision || "note");
    if (isOutdated(scan, mark)) {
      chip.classList.add("outdated");
      chip.append(make("span", "hidden", " (outdated: of an earlier mask)"));
      chip.title = "of an earlier mask";
    } else if (mark.decision) dot?.classList.add(mark.decision);
    cell.append(chip);
    if (mark.note) { const note = make("span", "note", mark.note); note.title = mark.note; cell.append(note); }
  }
  const current = [...reviews].filter(([id, one]) => isMark(one) && !isOutdated(byId.get(id), one));
  $("#reviewed-count").textContent = current.filter(([, one]) => one.decision).length;
  $("#excluded-count").textContent = current.filter(([, one]) => one.decision === "exclude").length;
  if (openId === scan.id) fillMark(scan);
}
