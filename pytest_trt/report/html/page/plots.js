"use strict";
// What all plots share, and the plot of a trend.
window.trtPlots = (() => {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const narrow = () => window.innerWidth < 640;

  // Plotly reads tags and entities in labels, so text from elsewhere must not contain any.
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  // Lines end between words; a word that is longer than a line is cut.
  function wrapped(text, width) {
    const lines = text.match(new RegExp(`.{1,${width}}(?:\\s|$)|.{1,${width}}`, "gsu")) ?? [];
    return lines.map((line) => plain(line.trimEnd())).join("<br>");
  }

  function axisStyle() {
    const line = colour("line");
    return { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
  }

  function layout(height, more = {}) {
    const { xaxis, yaxis, ...rest } = more;
    return {
      height,
      margin: { l: 10, r: 10, t: 10, b: 30 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colour("ink"), size: narrow() ? 11 : 12 },
      legend: { orientation: "h", y: 1, yanchor: "bottom", x: 0 },
      hoverlabel: { align: "left" },
      xaxis: { ...axisStyle(), ...xaxis },
      yaxis: { ...axisStyle(), ...yaxis },
      ...rest,
    };
  }

  // The trend of a figure over its runs, each with its measured value and with its level without the machine's drift.
  function trend(runs, unit) {
    const every = Math.max(1, Math.ceil(runs.length / (narrow() ? 4 : 8)));
    const ticks = runs.map((_, index) => index).filter((index) => index % every === 0);
    const x = runs.map((_, index) => index);
    const oneDay = new Set(runs.map((run) => run.time.slice(0, 10))).size === 1;
    const when = (run) => plain(oneDay ? run.time.slice(11, 16) : run.time.slice(0, 10));
    const about = (run) => [
      run.time.slice(0, 10),
      run.commit.slice(0, 12),
      run.ratio === null ? "" : `judged ${(100 * run.ratio - 100).toFixed(1)} % against the reference`,
      run.cause,
      run.moved ? `became the reference${run.author ? ", committed by " + run.author : ""}` : "",
      run.reason,
    ].filter(Boolean).map((text) => wrapped(text, 60)).join("<br>");
    const ring = (tone, size, symbol) => ({ color: colour(tone), size, symbol, line: { width: 2 } });
    const some = (choose, name, marker) => ({
      name,
      mode: "markers",
      x: x.filter((index) => choose(runs[index])),
      y: runs.filter(choose).map((run) => run.value),
      text: runs.filter(choose).map(about),
      marker,
      hovertemplate: `%{y} ${unit}<br>%{text}<extra>${name}</extra>`,
    });
    const level = {
      name: "level, without the machine's drift",
      mode: "lines",
      x,
      y: runs.map((run) => run.level),
      line: { shape: "hvh", width: 2, color: colour("ink"), dash: "dot" },
      hoverinfo: "skip",
    };
    const values = runs.map((run) => run.value);
    const far = (value) => value > 1.6 * Math.max(...values) || value < 0.6 * Math.min(...values);
    const limits = runs.map((run) => run.limit).filter((value) => value !== null);
    const limit = {
      name: "budget",
      mode: "lines",
      visible: limits.some(far) ? "legendonly" : true, // A distant budget would press the runs flat.
      x,
      y: runs.map((run) => run.limit),
      line: { shape: "hv", width: 1.5, color: colour("bad"), dash: "dash" },
      hovertemplate: `%{y} ${unit}<extra>budget</extra>`,
    };
    return {
      traces: [
        level,
        ...(limits.length ? [limit] : []),
        { ...some(() => true, "measured", { color: colour("new"), size: 7 }), mode: "lines+markers", line: { width: 1 } },
        some((run) => run.change === "level", "level changed", ring("bad", 14, "diamond-open")),
        some((run) => run.change === "machine", "the machine changed", ring("other", 14, "circle-open")),
        some((run) => run.moved, "became the reference", ring("old", 12, "square-open")),
      ].filter((trace) => trace.x.length),
      layout: layout(260, {
        xaxis: { tickvals: ticks, ticktext: ticks.map((index) => when(runs[index])) },
        yaxis: { title: { text: unit } },
      }),
    };
  }

  // Returns a function that makes a figure, which is drawn once it is scrolled into view.
  function figures(loadPlotly) {
    const pending = new WeakMap();
    const observer = new IntersectionObserver((entries) => entries.forEach((entry) => {
      if (entry.isIntersecting && pending.has(entry.target)) {
        const act = pending.get(entry.target);
        pending.delete(entry.target);
        observer.unobserve(entry.target);
        act();
      }
    }), { rootMargin: "300px" });
    const drawn = new Map();

    function whenVisible(target, act) {
      pending.set(target, act);
      observer.observe(target);
    }

    async function draw(area, plot) {
      const Plotly = await loadPlotly();
      const { traces, layout: looks } = plot();
      Plotly.react(area, traces, looks, { responsive: true, displayModeBar: false });
      drawn.set(area, plot);
    }

    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
      drawn.forEach((plot, area) => draw(area, plot)));
    return { draw, whenVisible };
  }

  return { axisStyle, colour, figures, layout, narrow, plain, trend, wrapped };
})();
