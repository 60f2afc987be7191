"use strict";
// The field `search` filters the rows of all sortable tables, and the field `device` those of one device.
(() => {
  function searchable(form) {
    const rows = Array.from(document.querySelectorAll("table.sortable tbody tr"));
    const texts = rows.map((row) => Array.from(row.cells, (cell) => cell.textContent.trim()));
    const [search, device, count] = ["search", "device", "count"].map((id) => document.getElementById(id));

    function apply() {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      rows.forEach((row, index) => {
        const cells = texts[index];
        const text = cells.join(" ").toLowerCase();
        row.hidden = !words.every((word) => text.includes(word)) || Boolean(device && device.value && !cells.includes(device.value));
      });
      count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
    }

    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    document.addEventListener("keydown", (event) => {
      const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
      if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
        event.preventDefault();
        search.focus();
      }
    });
    apply();
  }

  const form = document.getElementById("filters");
  if (form) searchable(form);
})();
