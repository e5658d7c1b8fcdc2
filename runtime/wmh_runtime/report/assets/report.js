"use strict";
(() => {
  const data = JSON.parse(document.getElementById("page-data").textContent);
  const byId = new Map(data.scans.map((scan) => [scan.id, scan]));
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  if (!data.scans.length) return;

  // ---- what the browser keeps -------------------------------------------------------------

  const store = {
    read(key) {
      try { return localStorage.getItem(key); } catch { return null; } // it may be forbidden
    },
    write(key, text) {
      try { localStorage.setItem(key, text); return true; } catch { return false; }
    },
  };

  // ---- reviews: marks of the reader ---------------------------------------------------------

  const reviews = new Map(); // id of a scan → its newest mark
  const others = []; // marks of scans that are not in this report: kept for the download
  const keyOf = (scan) => `wmh-review:${scan.sha}:${scan.output}:${scan.scan}`;
  const isMark = (mark) => Boolean(mark && (mark.decision || mark.note));
  const isOutdated = (scan, mark) => mark.mask_sha256 !== scan.sha;

  function takeReview(mark) {
    const scan = data.scans.find((one) => one.scan === mark.scan && one.output === mark.output);
    if (!scan) { others.push(mark); return; }
    const known = reviews.get(scan.id);
    if (!known || known.time <= mark.time) reviews.set(scan.id, mark);
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
    dot.classList.remove(...Object.keys(data.decisions));
    if (isMark(mark)) {
      cell.dataset.v = mark.decision || "note";
      const chip = make("span", `chip ${mark.decision || ""}`, mark.decision || "note");
      if (isOutdated(scan, mark)) {
        chip.classList.add("outdated");
        chip.append(make("span", "hidden", " (outdated: of an earlier mask)"));
        chip.title = "of an earlier mask";
      } else if (mark.decision) dot.classList.add(mark.decision);
      cell.append(chip);
      if (mark.note) { const note = make("span", "note", mark.note); note.title = mark.note; cell.append(note); }
    }
    const current = [...reviews].filter(([id, one]) => isMark(one) && !isOutdated(byId.get(id), one));
    $("#reviewed-count").textContent = current.filter(([, one]) => one.decision).length;
    $("#excluded-count").textContent = current.filter(([, one]) => one.decision === "exclude").length;
    if (openId === scan.id) fillMark(scan);
  }

  // ---- reviews.tsv: the same rules as the tables of the program -------------------------------

  const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;
  const plainCell = (text) => (!NUMBER.test(text) && /^[=+\-@\t\r\n']/.test(text) ? `'${text}` : text);
  const textOfCell = (cell) => (/^'[=+\-@\t\r\n']/.test(cell) ? cell.slice(1) : cell);
  const quoted = (text) => (/["\t\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

  function asTable() {
    const marks = [...others, ...data.scans.map((scan) => reviews.get(scan.id)).filter(isMark)];
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

  function readTable(text) {
    const [head = [], ...rows] = cellsOf(text.replace(/^\uFEFF/, ""));
    if (!["scan", "output", "decision"].every((name) => head.includes(name))) return null;
    return rows.map((row) => Object.fromEntries(
      data.columns.map((column) => [column, textOfCell(row[head.indexOf(column)] ?? "").trim()])))
      .filter((mark) => mark.decision === "" || mark.decision in data.decisions);
  }

  function download() {
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([asTable()], { type: "text/tab-separated-values" }));
    link.download = data.reviewsName;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    say(`Saved ${data.reviewsName}. Put it beside this report to keep the marks with the results.`);
  }

  async function load(file) {
    const marks = readTable(await file.text());
    if (!marks) { say(`${file.name} is no table of reviews.`); return; }
    const known = others.length;
    for (const mark of marks) takeReview(mark);
    for (const scan of data.scans) {
      const mark = reviews.get(scan.id);
      if (mark && !isOutdated(scan, mark)) store.write(keyOf(scan), JSON.stringify(mark));
      showReview(scan);
    }
    applyFilters();
    const missing = others.length - known;
    say(`Loaded ${marks.length} reviews from ${file.name}${missing ? `; ${missing} are of scans that are not in this report` : ""}. Where both exist, the newer mark counts.`);
  }

  const say = (text) => { $("#message").textContent = text; };

  // ---- table: sort and filter ------------------------------------------------------------------

  const body = $("#table tbody");
  const rows = $$("tr", body);
  const rowOf = new Map(rows.map((row) => [row.dataset.id, row]));
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
      dotOf.get(row.dataset.id).classList.toggle("out", !shown);
    }
    $("#shown").textContent = `${count} of ${rows.length} shown`;
    $("#nothing").hidden = count > 0;
    showPlace();
  }

  const shownIds = () => $$("tr", body).filter((row) => !row.hidden || row.dataset.id === openId).map((row) => row.dataset.id);

  // ---- one scan -----------------------------------------------------------------------------------

  const detail = $("#detail");
  let openId = null;
  let scrolledTo = 0;
  const layersOff = new Set(["probability", "regions"]);

  function picture(layer, pictures, base64, text) {
    const image = make("img", `layer-${layer}`);
    image.alt = text;
    image.width = pictures.width_px;
    image.height = pictures.height_px;
    image.decoding = "async";
    image.src = `data:image/webp;base64,${base64}`;
    return image;
  }

  const picturesOf = (id) => {
    const element = document.getElementById(`pictures-${id}`);
    return element ? JSON.parse(element.textContent) : null;
  };

  function sliceOf(pictures, slice, layers, tag) {
    const area = slice.lesion_mm2 ? `${slice.lesion_mm2.toFixed(0)} mm² of lesions` : "no lesions";
    const cell = make(tag, "slice");
    const stack = make("span", "stack");
    stack.append(picture("image", pictures, slice.image, `Slice ${slice.number} of ${pictures.slice_count}: ${area}`));
    for (const layer of layers) if (slice[layer]) stack.append(picture(layer, pictures, slice[layer], ""));
    const caption = make("span", "caption");
    caption.setAttribute("aria-hidden", "true");
    caption.append(make(slice.lesion_mm2 ? "b" : "span", "", slice.number));
    if (slice.lesion_mm2) caption.append(` ${area.replace(" of lesions", "")}`);
    cell.append(stack, caption);
    return cell;
  }

  function fillSlices(id) {
    const place = $("[data-slices]", detail);
    if (!place) return;
    const pictures = picturesOf(id);
    pictures.slices.forEach((slice, index) => {
      const cell = sliceOf(pictures, slice, ["probability", "regions", "lesions"], "button");
      cell.type = "button";
      cell.setAttribute("aria-expanded", "false");
      if (index === 0) for (const side of ["R", "L", "A"]) {
        const letter = make("span", `side ${side.toLowerCase()}`, side);
        letter.setAttribute("aria-hidden", "true");
        cell.append(letter);
      }
      cell.addEventListener("click", () => {
        const isLarge = cell.classList.toggle("large");
        cell.setAttribute("aria-expanded", String(isLarge));
        for (const one of $$(".slice", place)) if (one !== cell) { one.classList.remove("large"); one.setAttribute("aria-expanded", "false"); }
        if (isLarge) cell.scrollIntoView({ block: "nearest" });
      });
      place.append(cell);
    });
    showLayers();
  }

  function showLayers() {
    for (const button of $$("[data-layer]", detail)) {
      const isOff = layersOff.has(button.dataset.layer);
      button.setAttribute("aria-pressed", String(!isOff));
      $("[data-slices]", detail).classList.toggle(`no-${button.dataset.layer}`, isOff);
    }
  }

  function toggleLayer(layer) {
    if (!$(`[data-layer="${layer}"]`, detail)) return;
    if (!layersOff.delete(layer)) layersOff.add(layer);
    showLayers();
  }

  function fillMark(scan) {
    const mark = reviews.get(scan.id);
    for (const button of $$("[data-decision]", detail)) {
      button.setAttribute("aria-pressed", String(mark?.decision === button.dataset.decision && !isOutdated(scan, mark)));
    }
    for (const [name, text] of [["note", mark?.note], ["reviewer", mark?.reviewer || store.read("wmh-reviewer")]]) {
      const field = $(`[data-field="${name}"]`, detail);
      if (field !== document.activeElement) field.value = text || "";
    }
    const words = !isMark(mark) ? "" : `${mark.decision || "note"}${mark.reviewer ? ` by ${mark.reviewer}` : ""}, ${mark.time.replace("T", " ").replace("Z", " UTC")}`;
    $("[data-marked]", detail).textContent = words && isOutdated(scan, mark) ? `Outdated, of an earlier mask: ${words}` : words;
  }

  function decide(decision) {
    const scan = byId.get(openId);
    const mark = reviews.get(openId);
    const isSame = mark?.decision === decision && !isOutdated(scan, mark);
    keepReview(scan, { decision: isSame ? "" : decision });
  }

  function showPlace() {
    const place = $("[data-place]", detail);
    if (!place || !openId) return;
    const ids = shownIds(), index = ids.indexOf(openId);
    place.textContent = `${index + 1} of ${ids.length}${ids.length < rows.length ? " shown" : ""}`;
    $('[data-do="previous"]', detail).disabled = index <= 0;
    $('[data-do="next"]', detail).disabled = index >= ids.length - 1;
  }

  function step(by) {
    const ids = shownIds(), next = ids[ids.indexOf(openId) + by];
    if (next) { history.replaceState(null, "", `#${next}`); show(); }
  }

  function go(anchor) {
    location.hash = anchor;
    show(); // at once: the event comes later, and the next key may come before it
  }

  const back = () => { if (openId) go("scans"); };

  function show() {
    const id = location.hash.slice(1);
    const before = openId;
    if (before === id) return;
    if (before && dotOf.has(before)) dotOf.get(before).classList.remove("current");
    if (!byId.has(id)) {
      openId = null;
      detail.hidden = true;
      detail.replaceChildren();
      document.body.classList.remove("one");
      if (before) {
        scrollTo(0, scrolledTo);
        $("a", rowOf.get(before)).focus({ preventScroll: true });
      }
      return;
    }
    if (!before) scrolledTo = scrollY;
    openId = id;
    const scan = byId.get(id);
    detail.replaceChildren(document.getElementById(`detail-${id}`).content.cloneNode(true));
    detail.hidden = false;
    document.body.classList.add("one");
    dotOf.get(id).classList.add("current");
    dotOf.get(id).parentNode.append(dotOf.get(id)); // above the others
    fillSlices(id);
    fillMark(scan);
    showPlace();
    scrollTo(0, 0);
    $("h2", detail).focus({ preventScroll: true });
  }

  detail.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.decision) decide(button.dataset.decision);
    if (button.dataset.layer) toggleLayer(button.dataset.layer);
    ({ back, next: () => step(1), previous: () => step(-1) })[button.dataset.do]?.();
  });
  detail.addEventListener("submit", (event) => event.preventDefault());
  detail.addEventListener("change", (event) => {
    const field = event.target.dataset.field;
    if (!field || !openId) return;
    const text = event.target.value.trim();
    if (field === "reviewer") store.write("wmh-reviewer", text);
    const hasMark = isMark(reviews.get(openId));
    if (field === "note" || hasMark) keepReview(byId.get(openId), { [field]: text });
  });

  // ---- keys ------------------------------------------------------------------------------------------

  const useKeys = $("#use-keys");
  useKeys.checked = store.read("wmh-keys") !== "off";
  useKeys.addEventListener("change", () => store.write("wmh-keys", useKeys.checked ? "on" : "off"));
  const decisionOf = new Map(Object.entries(data.decisions).map(([decision, key]) => [key, decision]));
  const layerKeys = { 1: "lesions", 2: "probability", 3: "regions" };

  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.matches("input:not([type=checkbox]), select, textarea");
    if (event.key === "Escape" && openId) {
      if (isTyping) event.target.blur(); else back();
      return;
    }
    if (event.key === "Enter" && isTyping && openId) { event.target.blur(); return; }
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || !useKeys.checked) return;
    if (event.target.closest(".strip")) return; // there, the arrows go from dot to dot
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const isOnScroll = event.target.closest(".scroll");
    let act = null;
    if (openId && decisionOf.has(key)) act = () => decide(decisionOf.get(key));
    else if (openId && layerKeys[key]) act = () => toggleLayer(layerKeys[key]);
    else if (openId && (key === "j" || (key === "ArrowRight" && !isOnScroll))) act = () => step(1);
    else if (openId && (key === "k" || (key === "ArrowLeft" && !isOnScroll))) act = () => step(-1);
    else if (openId && key === "n") act = () => $('[data-field="note"]', detail).focus();
    else if (!openId && key === "/") act = () => $("#filter-text").focus();
    if (act) { event.preventDefault(); act(); }
  });

  // ---- plot ---------------------------------------------------------------------------------------------

  for (const frame of $$(".plot-frame")) {
    const tip = $(".tip", frame);
    const show = (dot) => {
      tip.textContent = dot.getAttribute("aria-label");
      tip.hidden = false;
      const inner = frame.getBoundingClientRect(), at = $("circle", dot).getBoundingClientRect();
      const half = tip.offsetWidth / 2;
      tip.style.left = `${Math.min(inner.width - half, Math.max(half, at.x + at.width / 2 - inner.x))}px`;
      tip.style.top = `${at.y - inner.y}px`;
    };
    const hide = () => { tip.hidden = true; };
    for (const dot of $$(".dot", frame)) {
      dot.addEventListener("mouseenter", () => show(dot));
      dot.addEventListener("focus", () => show(dot));
      dot.addEventListener("mouseleave", hide);
      dot.addEventListener("blur", hide);
    }
    const byVolume = $$(".dot", frame).sort((a, b) => parseFloat($("circle", a).getAttribute("cx")) - parseFloat($("circle", b).getAttribute("cx")));
    frame.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const dot = event.target.closest(".dot");
      const next = by && dot && byVolume[byVolume.indexOf(dot) + by];
      if (!by || !dot) return;
      event.preventDefault();
      if (!next) return;
      dot.setAttribute("tabindex", "-1");
      next.removeAttribute("tabindex");
      next.focus();
    });
  }

  // ---- print -----------------------------------------------------------------------------------------------

  function printBlocks() {
    const place = $("#print-blocks");
    place.replaceChildren();
    for (const id of shownIds()) {
      const scan = byId.get(id);
      const block = make("div", "print-block");
      const content = document.getElementById(`detail-${id}`).content;
      block.append(make("h3", "", scan.name), make("p", "mono", `${scan.scan} · ${scan.output}`));
      block.append(make("p", "", $$(".key-facts > div", content).map((fact) => `${$("dt", fact).textContent}: ${$("dd", fact).textContent.trim().replace(/\s+/g, " ")}`).join(" · ")));
      for (const warning of $$(".warnings li", content)) block.append(make("p", "", `▲ ${warning.textContent}`));
      const mark = reviews.get(id);
      if (isMark(mark)) block.append(make("p", "", `Review: ${[mark.decision, mark.note, mark.reviewer, mark.time].filter(Boolean).join(" · ")}${isOutdated(scan, mark) ? " (of an earlier mask)" : ""}`));
      const pictures = picturesOf(id);
      if (pictures) {
        const slices = make("div", "print-slices");
        for (const slice of pictures.slices) slices.append(sliceOf(pictures, slice, ["lesions"], "div"));
        block.append(slices);
      }
      place.append(block);
    }
    return Promise.all($$("img", place).map((image) => { image.decoding = "sync"; return image.decode().catch(() => {}); }));
  }
  const clearBlocks = () => $("#print-blocks").replaceChildren();
  $("#print").addEventListener("click", async () => { await printBlocks(); isPrepared = true; print(); });
  let isPrepared = false;
  addEventListener("beforeprint", () => { if (!isPrepared && !$("#print-blocks").firstChild) printBlocks(); });
  addEventListener("afterprint", () => { isPrepared = false; clearBlocks(); });

  // ---- start --------------------------------------------------------------------------------------------------

  for (const head of $$("#table th[data-kind]")) $("button", head).addEventListener("click", () => sortBy(head));
  $("#filters").addEventListener("input", applyFilters);
  $("#filters").addEventListener("submit", (event) => event.preventDefault());
  $("#filters").addEventListener("reset", () => setTimeout(applyFilters));
  $("#download").addEventListener("click", download);
  $("#load").addEventListener("change", async (event) => { if (event.target.files[0]) await load(event.target.files[0]); event.target.value = ""; });
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row && !event.target.closest("a") && !getSelection().toString()) go(row.dataset.id);
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#"]');
    const id = link?.getAttribute("href").slice(1);
    if (!byId.has(id) || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(id);
  });
  addEventListener("hashchange", show);
  data.reviews.forEach(takeReview);
  readKept();
  data.scans.forEach(showReview);
  applyFilters();
  show();
})();
