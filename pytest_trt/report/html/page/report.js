"use strict";
// The table of all tests is in the page. This script filters and pivots it, and draws a test's section when it
// is opened. Text from elsewhere is only ever set as text; in Plotly's labels, which have markup, it is escaped.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const rows = Array.from(byId("all").tBodies[0].rows);
  const sections = Array.from(document.querySelectorAll("details.test"));
  const element = window.trtElement;

  // ---- Search and filter ----

  function fillSelect(select, values) {
    const sorted = Array.from(new Set(values)).sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    select.append(...sorted.map((value) => element("option", { value, textContent: value || "none" })));
  }

  fillSelect(byId("verdict"), data.tests.map((test) => test.words));
  const axisSelects = data.axes.map((axis, index) => {
    const select = element("select", {}, element("option", { value: "\u0000", textContent: "all" }));
    fillSelect(select, data.tests.map((test) => test.axes[index]));
    byId("axes").append(element("label", {}, axis + " ", select));
    return select;
  });

  let shown = data.tests.map(() => true);

  function applyFilters() {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const verdict = byId("verdict").value;
    shown = data.tests.map((test) => {
      const id = test.id.toLowerCase();
      return (
        words.every((word) => id.includes(word)) &&
        (verdict === "" || test.words === verdict) &&
        axisSelects.every((select, index) => select.value === "\u0000" || test.axes[index] === select.value)
      );
    });
    rows.forEach((row, index) => (row.hidden = !shown[index]));
    sections.forEach((section, index) => (section.hidden = !shown[index]));
    byId("count").textContent = `${shown.filter(Boolean).length} of ${shown.length} tests`;
    drawPivot();
  }

  byId("filters").addEventListener("input", applyFilters);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      byId("search").focus();
    } else if (event.key === "Escape" && event.target === byId("search")) {
      byId("search").value = "";
      applyFilters();
    }
  });

  // ---- Pivot ----

  function fillPivot() {
    for (const [id, chosen] of [["pivot-rows", 0], ["pivot-columns", 1]]) {
      byId(id).append(...data.axes.map((axis, value) => element("option", { value, textContent: axis })));
      byId(id).value = Math.min(chosen, data.axes.length - 1);
    }
    byId("pivot").hidden = data.axes.length < 1;
    byId("pivot").addEventListener("input", drawPivot);
    byId("pivot").addEventListener("toggle", drawPivot);
  }

  function median(values) {
    const sorted = values.slice().sort((a, b) => a - b);
    const middle = sorted.length >> 1;
    return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  }

  function pivotText(value, measure) {
    if (measure === "used") return `${(100 * value).toPrecision(3)} %`;
    return measure === "speedup" ? `${value.toFixed(3)} x` : value.toPrecision(4);
  }

  // From light yellow to dark blue, which every kind of colour vision can order; the text has the contrast it needs.
  function cellColours(share) {
    const mix = (from, to) => Math.round(from + (to - from) * share);
    return [`rgb(${mix(255, 0)}, ${mix(246, 68)}, ${mix(196, 122)})`, share > 0.45 ? "#ffffff" : "#1b1f24"];
  }

  function drawPivot() {
    if (!byId("pivot").open) return;
    const [row, column] = [Number(byId("pivot-rows").value), Number(byId("pivot-columns").value)];
    const measure = byId("pivot-value").value;
    const cells = new Map();
    data.tests.forEach((test, index) => {
      if (!shown[index] || test[measure] === null) return;
      const key = JSON.stringify([test.axes[row], test.axes[column]]);
      cells.set(key, [...(cells.get(key) || []), test[measure]]);
    });
    const order = (a, b) => a.localeCompare(b, "en", { numeric: true });
    const values = (position) => {
      const found = Array.from(cells.keys(), (key) => JSON.parse(key)[position]);
      return Array.from(new Set(found)).sort(order);
    };
    const medians = new Map(Array.from(cells, ([key, found]) => [key, median(found)]));
    const [low, high] = [Math.min(...medians.values()), Math.max(...medians.values())];
    const head = element("tr", {}, element("th", { textContent: `${data.axes[row]} \\ ${data.axes[column]}` }));
    values(1).forEach((name) => head.append(element("th", { scope: "col", textContent: name })));
    const body = values(0).map((name) => {
      const line = element("tr", {}, element("th", { scope: "row", textContent: name }));
      values(1).forEach((other) => {
        const key = JSON.stringify([name, other]);
        const cell = element("td", {});
        if (medians.has(key)) {
          const [value, count] = [medians.get(key), cells.get(key).length];
          cell.textContent = pivotText(value, measure) + (count > 1 ? ` (${count})` : "");
          [cell.style.background, cell.style.color] = cellColours(high > low ? (value - low) / (high - low) : 0);
        }
        line.append(cell);
      });
      return line;
    });
    const caption = element("caption", { textContent: "Medians, and the number of tests if there are several." });
    const empty = element("p", { textContent: "No shown test has this value." });
    const table = element("table", {}, caption, element("thead", {}, head), element("tbody", {}, ...body));
    byId("pivot-table").replaceChildren(medians.size ? table : empty);
  }

  // ---- Sections ----

  async function unpack(base64) {
    const text = atob(base64);
    const bytes = new Uint8Array(text.length);
    for (let at = 0; at < text.length; at += 1) bytes[at] = text.charCodeAt(at); // Uint8Array.from takes much longer.
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }

  let loading = null;

  function loadPlotly() {
    loading ??= unpack(byId("plotly").textContent).then((text) => {
      document.head.append(element("script", { textContent: text }));
      return window.Plotly;
    });
    return loading;
  }

  function table(headingTexts, lines, numeric) {
    const cell = (name, textContent, index, more = {}) =>
      element(name, { textContent, className: numeric.includes(index) ? "n" : "", ...more });
    const head = element("tr", {}, ...headingTexts.map((text, index) => cell("th", text, index, { scope: "col" })));
    const body = lines.map((texts) =>
      element("tr", {}, ...texts.map((text, index) => cell(index ? "td" : "th", text, index))));
    const made = element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
    return element("div", { className: "wide" }, made);
  }

  function folded(summary, ...children) {
    return element("details", {}, element("summary", { textContent: summary }), ...children);
  }

  const { draw, whenVisible } = window.trtPlots.figures(loadPlotly);

  function figure(caption, plot) {
    const area = element("div", { className: "plot" });
    whenVisible(area, () => draw(area, plot));
    return element("figure", {}, element("figcaption", { textContent: caption }), area);
  }

  const preformatted = (lines) => element("pre", { textContent: lines.join("\n") });
  const paragraph = (textContent) => element("p", { textContent });

  async function fill(section) {
    const test = JSON.parse(await unpack(section.querySelector(".packed").textContent));
    const charts = window.trtCharts(test);
    const parts = [];
    for (const verdict of test.verdicts) {
      parts.push(preformatted([verdict.text, ...verdict.details.map((line) => "  " + line)]));
      if (verdict.causes.length) {
        parts.push(folded(`All causes found by blame: ${verdict.causes.length}`, preformatted(verdict.causes)));
      }
    }
    if (test.accept) parts.push(paragraph("Accept it with:"), preformatted([test.accept]));
    parts.push(element("div", { className: "plots" }, ...charts.map(([caption, plot]) => figure(caption, plot))));
    if (test.accuracy.length) {
      parts.push(element("h3", { textContent: "Accuracy" }), table(["output", "verdict", "how"], test.accuracy, []));
    }
    if (test.figures) {
      const titles = ["figure", "value", "low", "high", "before", "unit"];
      parts.push(folded("Figures", table(titles, test.figures, [1, 2, 3, 4])));
    }
    if (test.layers && test.layers.length) {
      const more = test.layers_left_out ? `, and ${test.layers_left_out} more that add less` : "";
      const text = (ms) => (ms === null ? "-" : ms.toPrecision(4));
      const lines = test.layers.map(([name, kind, precision, formats, tactic, nodes, now, before]) =>
        [name, text(now), text(before), kind, precision, formats, tactic, nodes]);
      parts.push(folded(`${test.layers.length} layers${more}`,
        table(["layer", "ms", "before", "kind", "precision", "formats", "tactic", "ONNX nodes"], lines, [1, 2])));
    }
    if (test.facts) {
      parts.push(paragraph(test.environment), ...test.notes.map((note) => paragraph("Note: " + note)));
      parts.push(folded("Configuration and environment", table(["name", "value"], test.facts, [])));
    }
    section.querySelector(".body").replaceChildren(...parts);
  }

  function fillOnce(section) {
    if (!section.open || section.dataset.filled) return;
    section.dataset.filled = "yes";
    fill(section);
  }

  sections.forEach((section) => {
    section.addEventListener("toggle", () => fillOnce(section));
    if (section.open) whenVisible(section, () => fillOnce(section));
  });

  function openTarget() {
    const target = location.hash ? byId(decodeURIComponent(location.hash.slice(1))) : null;
    if (target && target.matches("details.test")) {
      if (target.hidden) {
        byId("filters").reset();
        applyFilters();
      }
      target.open = true;
      fillOnce(target);
      target.scrollIntoView();
      target.querySelector("summary").focus({ preventScroll: true });
    }
  }

  window.addEventListener("hashchange", openTarget);
  byId("all").addEventListener("click", (event) => {
    if (event.target.closest("a[href='" + location.hash + "']")) openTarget(); // The same link again changes no hash.
  });
  fillPivot();
  applyFilters();
  openTarget();
})();
