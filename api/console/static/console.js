// Beside htmx: copying, "/" focuses the search, and a banner when updates fail.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy);
  button.classList.add("done");
  setTimeout(() => button.classList.remove("done"), 1200);
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  const search = document.getElementById("search");
  if (event.key !== "/" || typing || !search) return;
  event.preventDefault();
  search.focus();
});

const answering = (works) => document.documentElement.classList.toggle("unanswered", !works);
document.addEventListener("htmx:error", () => answering(false));
document.addEventListener("htmx:response:error", () => answering(false));
document.addEventListener("htmx:after:request", (event) => {
  if (event.detail.ctx.response.status < 500) answering(true);
});
