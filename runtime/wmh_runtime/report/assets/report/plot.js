// The plot of volumes: names of the dots, and the way from dot to dot.

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
