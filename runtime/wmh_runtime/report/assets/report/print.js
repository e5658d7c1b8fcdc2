// Blocks with pictures for the printer.

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
