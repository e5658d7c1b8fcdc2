// One scan: slices in layers, its mark, the way to the others.

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

function stepSlice(isForward) { // from the enlarged slice to its neighbor
  const large = $(".slice.large", detail);
  const other = isForward ? large.nextElementSibling : large.previousElementSibling;
  if (other?.matches(".slice")) { other.click(); other.focus({ preventScroll: true }); }
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
  dotOf.get(before)?.classList.remove("current");
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
  const dot = dotOf.get(id);
  if (dot) {
    dot.classList.add("current");
    dot.parentNode.append(dot); // above the others
  }
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
  const mark = reviews.get(openId);
  const isCurrent = isMark(mark) && !isOutdated(byId.get(openId), mark);
  if (field === "note" || isCurrent) keepReview(byId.get(openId), { [field]: text });
});
