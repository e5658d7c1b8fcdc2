// Marks of the reader: the newest one of each scan.

const reviews = new Map(); // id of a scan → the mark that counts
const marksOfReaders = new Map(); // id of a scan → reader → the newest mark
const others = new Map(); // marks of scans that are not in this report: kept for the download
const keyOf = (scan) => `wmh-review:${scan.sha}:${scan.output}:${scan.scan}`;
const marksOf = (scan) => marksOfReaders.get(scan.id) ?? marksOfReaders.set(scan.id, new Map()).get(scan.id);
const isMark = (mark) => Boolean(mark && (mark.decision || mark.note));
// Only that a scan cannot be used is true of each of its masks.
const isOutdated = (scan, mark) => mark.decision !== "exclude" && Boolean(mark.mask_sha256) && mark.mask_sha256 !== scan.sha;

function takeReview(mark) { // without an output, or if the scan cannot be used: of all outputs
  const isOf = (one) => one.scan === mark.scan && ([one.output, ""].includes(mark.output) || mark.decision === "exclude");
  const scans = data.scans.filter(isOf);
  if (!scans.length) keepNewest(others, `${mark.output}:${mark.reviewer}:${mark.scan}`, mark);
  for (const scan of scans) {
    keepNewest(marksOf(scan), mark.reviewer, { ...mark, output: scan.output });
    choose(scan);
  }
}

function keepNewest(marks, key, mark) {
  const known = marks.get(key);
  if (!known || known.time <= mark.time) marks.set(key, mark);
}

function choose(scan) { // the newest decision of a reader that is not outdated; else a note, or an outdated mark
  const rank = (mark) => `${Number(!isOutdated(scan, mark))}${Number(Boolean(mark.decision))}${mark.time}`;
  const marks = [...marksOf(scan).values()].filter(isMark);
  const best = marks.reduce((one, other) => (one && rank(one) > rank(other) ? one : other), undefined);
  if (best) reviews.set(scan.id, best); else reviews.delete(scan.id);
}

function keepReview(scan, change) {
  const known = reviews.get(scan.id);
  const before = known && !isOutdated(scan, known) ? known : undefined;
  const mark = {
    scan: scan.scan, output: scan.output, decision: "", note: "", ...before, ...change,
    mask_sha256: scan.sha, time: new Date().toISOString().replace(/\.\d+Z$/, "Z"),
  };
  mark.reviewer = change.reviewer ?? (store.read("wmh-reviewer") || before?.reviewer || "");
  if (change.reviewer !== undefined && before) marksOf(scan).delete(before.reviewer); // it has a name now
  marksOf(scan).set(mark.reviewer, mark);
  choose(scan);
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
