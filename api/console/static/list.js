// The list of incidents by keyboard, and completion of the search word by word. Everything works without it.
const rows = () => [...document.querySelectorAll("[data-list] tbody tr")];

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]")) return;
  const all = rows();
  const at = all.indexOf(document.activeElement.closest("[data-list] tbody tr"));
  if (event.key === "j" || event.key === "k") {
    const next = all[Math.min(Math.max(at + (event.key === "j" ? 1 : -1), 0), all.length - 1)];
    if (!next) return;
    event.preventDefault();
    next.querySelector(".row-link").focus();
    next.scrollIntoView({ block: "nearest" });
  } else if (event.key === "x" && at >= 0) {
    const pick = all[at].querySelector("input[type=checkbox]");
    if (!pick) return;
    event.preventDefault();
    pick.checked = !pick.checked;
  } else if (event.key === "Enter" && at >= 0 && event.target.matches("input[type=checkbox]")) {
    event.preventDefault();
    all[at].querySelector(".row-link").click();
  }
});

// A list of options completes the whole field: each offers the words before with the last one completed.
const search = document.getElementById("search");
const offered = document.getElementById("search-tokens");
if (search && offered) {
  const tokens = [...offered.options].map((option) => option.value);
  search.addEventListener("input", () => {
    const before = search.value.slice(0, search.value.lastIndexOf(" ") + 1);
    [...offered.options].forEach((option, number) => (option.value = before + tokens[number]));
  });
}
