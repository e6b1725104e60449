"use strict";
// Sorts and filters the table of problems. Without this script, the page shows all of them in the check's order.
(() => {
  const table = document.getElementById("problems");
  if (!table) return;
  const body = table.tBodies[0], rows = [...body.rows];
  const words = document.getElementById("words"), kind = document.getElementById("kind");
  const shown = document.getElementById("shown");

  function filter() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !(wanted.every(word => text.includes(word)) && (!kind.value || row.dataset.kind === kind.value));
      count += !row.hidden;
    }
    shown.textContent = `${count} of ${rows.length} shown`;
  }

  function sort(heading) {
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = row => row.cells[heading.cellIndex].textContent.trim();
    const order = new Intl.Collator("en", { numeric: true });
    const sorted = [...rows].sort((a, b) => order.compare(value(a), value(b)));
    body.append(...(down ? sorted.reverse() : sorted));
  }

  words.addEventListener("input", filter);
  kind.addEventListener("change", filter);
  for (const heading of table.tHead.rows[0].cells)
    heading.querySelector("button").addEventListener("click", () => sort(heading));
  document.getElementById("tools").hidden = false;
  filter();
})();
