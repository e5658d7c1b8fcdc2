// Marks of the reader: the newest one of each scan.

const reviews = new Map(); // id of a scan → its newest mark
const others = new Map(); // marks of scans that are not in this report: kept for the download
const keyOf = (scan) => `wmh-review:${scan.sha}:${scan.output}:${scan.scan}`;
const isMark = (mark) => Boolean(mark && (mark.decision || mark.note));
// Only that a scan cannot be used is true of each of its masks.
const isOutdated = (scan, mark) => mark.decision !== "exclude" && Boolean(mark.mask_sha256) && mark.mask_sha256 !== scan.sha;

function takeReview(mark) { // the newest one that is not outdated; without an output: of all outputs
  const scans = data.scans.filter((one) => one.scan === mark.scan && [one.output, ""].includes(mark.output));
  const key = `${mark.output}:${mark.reviewer}:${mark.scan}`;
  if (!scans.length && !(others.get(key)?.time > mark.time)) others.set(key, mark);
  for (const scan of scans) {
    const known = reviews.get(scan.id), rank = (one) => [!isOutdated(scan, one), one.time];
    const [isValid, time] = rank(mark), [wasValid, before] = known ? rank(known) : [false, ""];
    if (!known || isValid > wasValid || (isValid === wasValid && before <= time)) reviews.set(scan.id, { ...mark, output: scan.output });
  }
}

function keepReview(scan, change) {
  const known = reviews.get(scan.id);
  const before = known && !isOutdated(scan, known) ? known : undefined;
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
