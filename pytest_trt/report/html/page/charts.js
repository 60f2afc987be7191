"use strict";
// The plots of a test's section: each is a caption, and a function that returns Plotly's traces and layout.
window.trtCharts = (test) => {
  const { colour, narrow, plain, wrapped, axisStyle, layout, trend } = window.trtPlots;

  const SIDES = [
    ["old", "baseline", "old", "diamond-open"],
    ["new", "this run", "new", "circle"],
  ];

  function sides(of) {
    return SIDES.filter(([side]) => of && of[side] && (of[side].length === undefined || of[side].length));
  }

  function intervals() {
    const rows = test.intervals;
    const labels = rows.map((row) => wrapped(row.label, narrow() ? 18 : 40));
    const trace = (bad) => {
      const some = rows.map((row, index) => [row, labels[index]]).filter(([row]) => row.bad === bad);
      return {
        name: bad ? "fails" : "passes",
        mode: "markers",
        x: some.map(([row]) => row.value),
        y: some.map(([, label]) => label),
        error_x: {
          symmetric: false,
          array: some.map(([row]) => row.high - row.value),
          arrayminus: some.map(([row]) => row.value - row.low),
          thickness: 2,
        },
        marker: { size: 10, color: colour(bad ? "bad" : "new"), symbol: bad ? "x" : "circle" },
        text: some.map(([row]) => {
          const interval = `${row.value} % [${row.low}, ${row.high}]`;
          return `${plain(row.words)}: ${interval}, limit ${row.limit} %`;
        }),
        hovertemplate: "%{text}<extra></extra>",
      };
    };
    const limits = {
      name: "limit",
      mode: "markers",
      x: rows.map((row) => row.limit),
      y: labels,
      marker: { symbol: "line-ns", size: 24, line: { width: 3, color: colour("ink") } },
      hovertemplate: "limit %{x} %<extra></extra>",
    };
    return {
      traces: [limits, trace(false), trace(true)].filter((one) => one.x.length),
      layout: layout(90 + 44 * rows.length, {
        xaxis: { title: { text: "% worse; below 0 is better" }, zeroline: true },
        yaxis: { type: "category", autorange: "reversed" },
      }),
    };
  }

  function distributions() {
    const traces = sides(test.samples).map(([side, name, tone]) => ({
      type: "violin",
      name,
      x: test.samples[side],
      y0: name,
      orientation: "h",
      points: "all",
      jitter: 0.4,
      pointpos: -0.9,
      marker: { size: 2.5, opacity: 0.5 },
      line: { color: colour(tone), width: 1.5 },
      meanline: { visible: true },
      hoverinfo: "x",
      spanmode: "hard",
    }));
    const more = { xaxis: { title: { text: "latency, ms" } }, showlegend: false };
    return { traces, layout: layout(110 + 90 * traces.length, more) };
  }

  function blocks() {
    const units = { clock: "MHz", temperature: "°C", power: "W" };
    const lanes = Object.keys(units).filter((lane) => sides(test.blocks).some(([side]) => test.blocks[side][lane]));
    const traces = [];
    for (const [side, name, tone, symbol] of sides(test.blocks)) {
      const series = test.blocks[side];
      const reasons = series.reasons || [];
      traces.push({
        name,
        mode: "markers",
        x: series.t,
        y: series.ms,
        marker: { color: colour(tone), symbol, size: 5 },
        text: series.probe.map((probe, index) => `probe ${probe}${reasons[index] ? ", " + plain(reasons[index]) : ""}`),
        hovertemplate: "%{y} ms after %{x} s, %{text}<extra>" + name + "</extra>",
      });
      const slowed = series.t.map((_, index) => index).filter((index) => reasons[index]);
      if (slowed.length) {
        traces.push({
          name: `${name}, clock lowered`,
          mode: "markers",
          x: slowed.map((index) => series.t[index]),
          y: slowed.map((index) => series.ms[index]),
          marker: { symbol: "x-thin", size: 10, line: { width: 2, color: colour("bad") } },
          text: slowed.map((index) => plain(reasons[index])),
          hovertemplate: "%{text}<extra></extra>",
        });
      }
      lanes.forEach((lane, index) => traces.push({
        name: `${name}, ${lane}`,
        showlegend: false,
        mode: "lines+markers",
        x: series.t,
        y: series[lane] || [],
        yaxis: `y${index + 2}`,
        line: { color: colour(tone), width: 1, dash: side === "old" ? "dot" : "solid" },
        marker: { size: 3 },
        hovertemplate: `%{y} ${units[lane]}<extra>${name}</extra>`,
      }));
    }
    const share = lanes.length ? 0.45 / lanes.length : 0;
    const base = layout(260 + 80 * lanes.length, {
      xaxis: { title: { text: "s of measuring" }, anchor: "free", position: 0 },
      yaxis: { title: { text: "ms" }, domain: [lanes.length ? 0.5 : 0, 1] },
    });
    lanes.forEach((lane, index) => {
      const top = 0.45 - index * share;
      const domain = [top - share + 0.03, top];
      base[`yaxis${index + 2}`] = { ...axisStyle(), title: { text: units[lane] }, domain, nticks: 3 };
    });
    return { traces, layout: base };
  }

  function steps() {
    const traces = sides(test.steps).map(([side, name, tone, symbol]) => ({
      name,
      mode: "lines+markers",
      x: test.steps[side].map((step) => step[0]),
      y: test.steps[side].map((step) => step[1]),
      line: { color: colour(tone), width: 1, dash: side === "old" ? "dot" : "solid" },
      marker: { color: colour(tone), symbol, size: 5 },
      hovertemplate: "%{y} ms after %{x} tokens<extra>" + name + "</extra>",
    }));
    return {
      traces,
      layout: layout(260, { xaxis: { title: { text: "tokens before the step" } }, yaxis: { title: { text: "ms" } } }),
    };
  }

  function parts(title) {
    const of = test.parts[title];
    const shown = SIDES.filter(([side]) => of[side]);
    const names = Array.from(new Set(shown.flatMap(([side]) => Object.keys(of[side]))));
    const patterns = ["", "/", ".", "x"];
    const tones = ["#56b4e9", "#0072b2", "#e69f00", "#cc79a7"];
    return {
      traces: names.map((name, index) => ({
        type: "bar",
        name,
        orientation: "h",
        y: shown.map((side) => side[1]),
        x: shown.map(([side]) => of[side][name] ?? 0),
        marker: { color: tones[index % 4], pattern: { shape: patterns[index % 4], size: 6 } },
        hovertemplate: `${name}: %{x}<extra></extra>`,
      })),
      layout: layout(110 + 36 * shown.length, { barmode: "stack", xaxis: { title: { text: title } } }),
    };
  }

  const MOST_BARS = 25;

  function layers() {
    const paired = test.layers.some((layer) => layer[7] !== null);
    const shown = test.layers.slice(0, MOST_BARS).reverse();
    const width = narrow() ? 24 : 60;
    const labels = shown.map(([name], index) => wrapped(name, width) + "\u200b".repeat(index)); // Names may be equal.
    const titles = ["layer", "kind", "precision", "formats", "tactic", "ONNX nodes"];
    const text = shown.map((layer) =>
      titles
        .map((title, index) => [title, layer[index]])
        .filter(([, value]) => value)
        .map(([title, value]) => `${title}: ${wrapped(value, 80)}`)
        .join("<br>"));
    const bar = (position, name, tone, shape) => ({
      type: "bar",
      name,
      orientation: "h",
      y: labels,
      x: shown.map((layer) => layer[position]),
      text,
      textposition: "none",
      marker: { color: colour(tone), pattern: { shape } },
      hovertemplate: "%{x} ms<br>%{text}<extra>" + name + "</extra>",
    });
    const lines = labels.reduce((sum, label) => sum + Math.max(label.split("<br>").length, paired ? 2 : 1), 0);
    return {
      traces: [...(paired ? [bar(7, "baseline", "old", "/")] : []), bar(6, "this run", "new", "")],
      layout: layout(90 + 17 * lines, {
        barmode: "group",
        bargap: 0.25,
        xaxis: { title: { text: "ms" } },
        yaxis: { type: "category" },
      }),
    };
  }

  const found = [];
  if (test.intervals.length) found.push(["Verdicts: intervals against tolerance and budget", intervals]);
  if (sides(test.samples).length) found.push(["Distribution of the latency", distributions]);
  if (sides(test.blocks).length) found.push(["Blocks over time", blocks]);
  if (sides(test.steps || {}).length) found.push(["Time of a step of a generation", steps]);
  for (const title of Object.keys(test.parts || {})) found.push([`Parts of the ${title}`, () => parts(title)]);
  if (test.layers && test.layers.some((layer) => layer[6] !== null || layer[7] !== null)) {
    const more = test.layers.length + test.layers_left_out - MOST_BARS;
    found.push([`Layers by what they add${more > 0 ? ` (${more} more are in the table below)` : ""}`, layers]);
  }
  if (test.trend.length > 1) found.push(["Trend of the latency", () => trend(test.trend, "ms")]);
  return found;
};
