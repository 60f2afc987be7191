"use strict";
// The page of a test draws the trend of the figure that is chosen.
(() => {
  const element = window.trtElement;

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

  const tools = window.trtPlots.figures(async () => window.Plotly);
  const histories = JSON.parse(document.getElementById("data").textContent);
  document.querySelectorAll(".trends").forEach((place, index) => showTrends(place, histories[index], tools));
})();
