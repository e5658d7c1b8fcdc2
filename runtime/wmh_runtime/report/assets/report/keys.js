// Single keys.

const useKeys = $("#use-keys");
useKeys.checked = store.read("wmh-keys") !== "off";
useKeys.addEventListener("change", () => store.write("wmh-keys", useKeys.checked ? "on" : "off"));
const decisionOf = new Map(Object.entries(data.decisions).map(([decision, key]) => [key, decision]));
const layerKeys = { 1: "lesions", 2: "probability", 3: "regions" };

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches("input:not([type=checkbox]), select, textarea");
  if (event.key === "Escape" && openId) {
    const large = $(".slice.large", detail);
    if (isTyping) event.target.blur(); else if (large) large.click(); else back();
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
  else if (openId && ["ArrowRight", "ArrowLeft"].includes(key) && $(".slice.large", detail)) act = () => stepSlice(key === "ArrowRight");
  else if (openId && (key === "j" || (key === "ArrowRight" && !isOnScroll))) act = () => step(1);
  else if (openId && (key === "k" || (key === "ArrowLeft" && !isOnScroll))) act = () => step(-1);
  else if (openId && key === "n") act = () => $('[data-field="note"]', detail).focus();
  else if (!openId && key === "/") act = () => $("#filter-text").focus();
  if (act) { event.preventDefault(); act(); }
});
