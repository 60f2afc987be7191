"use strict";
// The lists of a site are searched; the page of a test draws the trend of the figure that is chosen.
(() => {
  const element = window.trtElement;

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

  // The runs of a figure, from the columns of all figures.
  function runsOf(history, figure) {
    const changes = new Map(figure.changes.map(([index, change, cause]) => [index, [change, cause]]));
    const moved = new Set(history.moved);
    return figure.at.map((place, index) => {
      const [change, cause] = changes.get(index) || ["", ""];
      return {
        time: history.time[place],
        commit: history.commit[place],
        author: history.author[place] || "",
        reason: history.reason[place] || "",
        moved: moved.has(place),
        value: figure.value[index],
        level: (figure.level || figure.value)[index],
        ratio: figure.ratio ? figure.ratio[index] : null,
        limit: figure.limit ? figure.limit[index] : null,
        change,
        cause,
      };
    });
  }

  function showTrends(place, history, tools) {
    const names = Object.keys(history.figures);
    const select = element("select", {}, ...names.map((name) =>
      element("option", { value: name, textContent: history.figures[name].title })));
    const area = element("div", { className: "plot" });
    const plot = () => {
      const figure = history.figures[select.value];
      return window.trtPlots.trend(runsOf(history, figure), figure.unit);
    };
    select.addEventListener("input", () => tools.draw(area, plot));
    place.append(element("label", {}, "Figure ", select), element("figure", {}, area));
    tools.whenVisible(area, () => tools.draw(area, plot));
  }

  const form = document.getElementById("filters");
  if (form) searchable(form);
  const data = document.getElementById("data");
  if (data) {
    const tools = window.trtPlots.figures(async () => window.Plotly);
    const histories = JSON.parse(data.textContent);
    document.querySelectorAll(".trends").forEach((place, index) => showTrends(place, histories[index], tools));
  }
})();
