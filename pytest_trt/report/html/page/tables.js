"use strict";
// Tables of the class `sortable`: a press on a heading sorts by its column.
window.trtElement = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child !== null));
  return made;
};

(() => {
  function sortKey(cell, numeric) {
    const text = cell.textContent.trim();
    const found = numeric || /^[+-]?\d/.test(text) ? /[+-]?\d+(\.\d+)?/.exec(text) : null;
    return found ? Number(found[0]) : text;
  }

  function compareKeys(one, other) {
    if (typeof one === typeof other) {
      return typeof one === "number" ? one - other : one.localeCompare(other, "en", { numeric: true });
    }
    return typeof one === "number" ? -1 : 1; // A cell without a number is last.
  }

  function makeSortable(table) {
    const headings = Array.from(table.tHead.rows[0].cells);
    const rows = Array.from(table.tBodies[0].rows);

    function sortBy(column) {
      const heading = headings[column];
      const descending = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const numeric = heading.classList.contains("n");
      const keyed = rows.map((row, index) => [sortKey(row.cells[column], numeric), index, row]);
      keyed.sort((a, b) => (descending ? compareKeys(b[0], a[0]) : compareKeys(a[0], b[0])) || a[1] - b[1]);
      table.tBodies[0].append(...keyed.map((entry) => entry[2]));
    }

    headings.forEach((heading, column) => {
      const button = heading.querySelector("button");
      if (button) button.addEventListener("click", () => sortBy(column));
    });
  }

  document.querySelectorAll("table.sortable").forEach(makeSortable);
})();
