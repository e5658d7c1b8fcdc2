// Connect the controls and show the page.

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
