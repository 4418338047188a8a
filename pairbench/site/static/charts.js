// Charts by Vega-Lite, from the JSON in the page. Colours are the style sheet's, so that dark mode and
// print need no second drawing; expressions are interpreted, so that the page needs no eval.
"use strict";

(() => {
  const slots = 7;
  const colours = Array.from({ length: slots }, (_, i) => `var(--c${i + 1})`);
  const config = {
    background: null,
    font: "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, 'Liberation Sans', sans-serif",
    view: { stroke: null },
    axis: {
      labelColor: "var(--quiet)", titleColor: "var(--quiet)", domainColor: "var(--faint)", tickColor: "var(--faint)",
      gridColor: "var(--rule)", labelFontSize: 11, titleFontSize: 11, titleFontWeight: "normal", labelOverlap: true,
    },
    area: { line: false },
    legend: { disable: true },
  };

  // Vega's tooltips would be elements of its own style.
  const tooltip = (_handler, event, _item, value) => {
    if (value === null || value === undefined || value === "") pairbenchTip.hide();
    else {
      const lines = typeof value === "object" ? Object.entries(value).map(([name, x]) => (name === "0" ? x : `${name}: ${x}`)) : [value];
      pairbenchTip.show(lines.join("\n"), event.clientX + 12, event.clientY + 16);
    }
  };

  async function draw(element, spec) {
    const compiled = vegaLite.compile({ ...spec, config }).spec;
    const view = new vega.View(vega.parse(compiled, null, { ast: true }), {
      renderer: "svg", expr: vegaInterpreter, tooltip, hover: true, container: element, logLevel: vega.Error,
    });
    element.pairbenchView?.finalize();
    element.pairbenchView = view;
    await view.runAsync();
    // The figure's caption and the tables say what the picture says.
    const svg = element.querySelector("svg");
    svg.setAttribute("aria-hidden", "true");
    svg.removeAttribute("role");
  }

  const figure = (x) => (x === null ? "–" : x >= 1000 || x === 0 ? x.toFixed(0) : x < 1e-4 ? x.toExponential(2) : x.toPrecision(3));
  const told = ([v, low, high]) => (low === null || high === null ? figure(v) : `${figure(v)} (${figure(low)} to ${figure(high)})`);

  // The designs in colour: slug to slot; the reference is drawn dashed beside them.
  function chosenAtFirst(data) {
    const slugs = data.designs.filter((d) => d.slug !== data.reference).map((d) => d.slug);
    return new Map(slugs.slice(0, 4).map((slug, slot) => [slug, slot]));
  }

  function series(data, chosen) {
    return data.designs.map((design) => ({
      name: design.name,
      state: design.slug === data.reference ? "reference" : chosen.has(design.slug) ? "chosen" : "other",
      colour: chosen.has(design.slug) ? colours[chosen.get(design.slug)] : "var(--ink)",
    }));
  }

  // 1, 2, 5, 10 … between two numbers, the decades alone where those are many; a log axis draws a line
  // for each tick that it counts, labelled or not.
  function ticks(values) {
    const shown = values.filter((x) => x > 0);
    const [low, high] = [Math.min(...shown), Math.max(...shown)];
    const found = (steps) => {
      const marks = [];
      for (let k = Math.floor(Math.log10(low)); k <= Math.log10(high); k++) {
        for (const step of steps) marks.push(Number(`${step}e${k}`));
      }
      return marks.filter((mark) => mark >= low * 0.98 && mark <= high * 1.02);
    };
    const fine = found([1, 2, 5]);
    return fine.length > 6 ? found([1]) : fine.length > 2 ? fine : found([1, 1.5, 2, 3, 4, 5, 6, 8]);
  }

  const literal = { type: "nominal", scale: null };

  // Thin grey lines of the others below bands, lines and points of the chosen ones.
  function lines({ rows, x, y, height, bands, extra = [], interpolate = "linear" }) {
    const key = { detail: { field: "name" } };
    const layer = [
      {
        transform: [{ filter: "datum.state === 'other'" }],
        mark: { type: "line", interpolate, strokeWidth: 1, opacity: 0.55 },
        encoding: { x, y, ...key, stroke: { value: "var(--faint)" } },
      },
      ...extra,
    ];
    if (bands) {
      layer.push({
        transform: [{ filter: "datum.state !== 'other' && datum.low > 0 && isValid(datum.high)" }],
        mark: { type: "area", opacity: 0.15 },
        encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" }, ...key, fill: { field: "colour", ...literal } },
      });
    }
    layer.push({
      transform: [{ filter: "datum.state !== 'other'" }],
      mark: { type: "line", interpolate, strokeWidth: 2 },
      encoding: {
        x, y, ...key,
        stroke: { field: "colour", ...literal },
        strokeDash: { condition: { test: "datum.state === 'reference'", value: [5, 3] }, value: [1, 0] },
      },
    });
    layer.push({
      transform: [{ filter: "datum.state !== 'other'" }],
      mark: { type: "point", filled: true, size: bands ? 28 : 90, opacity: bands ? 1 : 0 },
      encoding: { x, y, fill: { field: "colour", ...literal }, tooltip: { field: "tip" } },
    });
    return { width: "container", height, data: { values: rows }, layer };
  }

  function curves(panel, drawn) {
    const rows = [];
    panel.gaps.forEach((gaps, i) =>
      gaps.forEach((gap, b) => {
        if (gap[0] > 0) rows.push({ ...drawn[i], x: panel.budgets[b], y: gap[0], low: gap[1], high: gap[2], tip: `${drawn[i].name}\n${panel.budgets[b]} ${panel.unit}\ngap ${told(gap)}` });
      }),
    );
    const extra = panel.floor > 0 ? [{
      data: { values: [{ floor: panel.floor }] },
      mark: { type: "rule", strokeDash: [1, 3], color: "var(--quiet)", strokeWidth: 1.2 },
      encoding: { y: { field: "floor", type: "quantitative" } },
    }] : [];
    return lines({
      rows, extra, bands: true, height: 210,
      x: { field: "x", type: "quantitative", scale: { type: "log", nice: false }, axis: { values: panel.budgets, title: panel.unit, grid: false, format: "~s" } },
      y: { field: "y", type: "quantitative", scale: { type: "log", nice: false, padding: 6 }, axis: { title: "gap", values: ticks(rows.flatMap((row) => [row.y, row.low, row.high])), format: "~g" } },
    });
  }

  function profile(data, drawn) {
    const rows = data.profile.shares.flatMap((shares, i) =>
      shares.map((share, t) => ({ ...drawn[i], x: data.profile.taus[t], y: share, tip: `${drawn[i].name}\n${Math.round(100 * share)} % of worlds at τ = ${figure(data.profile.taus[t])}` })),
    );
    const one = [{ data: { values: [{ x: 1 }] }, mark: { type: "rule", color: "var(--quiet)" }, encoding: { x: { field: "x", type: "quantitative" } } }];
    return lines({
      rows, extra: one, bands: false, height: 320, interpolate: "step-after",
      x: { field: "x", type: "quantitative", scale: { type: "log", base: 2, nice: false }, axis: { title: "τ, gap over the reference's", format: "~g", values: [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16, 32], labelExpr: "datum.value < 1 ? '1/' + format(1 / datum.value, '~g') : format(datum.value, '~g')" } },
      y: { field: "y", type: "quantitative", scale: { domain: [0, 1] }, axis: { title: "share of worlds", format: ".0%", tickCount: 5 } },
    });
  }

  function savings(data) {
    const [least, most] = [1 / 16, 16];
    const cut = (x) => (x === null ? most : Math.min(Math.max(x, least), most));
    const rows = data.savings.map(({ at, text }, i) => ({
      place: i, name: data.designs[i].name, control: data.designs[i].control, one: 1,
      value: cut(at[0]), low: cut(at[1]), high: cut(at[2]), tip: `${data.designs[i].name}\n${text}`,
    }));
    const letters = innerWidth < 640 ? 20 : 40;
    // The end tells designs apart that differ in parameters.
    const name = `length(datum.label) <= ${letters} ? datum.label : slice(datum.label, 0, ${letters / 2 - 1}) + '…' + slice(datum.label, -${letters / 2})`;
    const y = { field: "name", type: "nominal", sort: { field: "place" }, axis: { title: null, ticks: false, domain: false, labelExpr: name, labelColor: "var(--ink)", labelLimit: innerWidth < 640 ? 130 : 260, labelOverlap: false } };
    const x = { type: "quantitative", scale: { type: "log", base: 2, domain: [least, most], nice: false } };
    const axis = { title: `${data.unit} saved, ×`, values: innerWidth < 640 ? [1 / 8, 1 / 2, 1, 2, 8] : [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16], labelExpr: "datum.value < 1 ? '1/' + format(1 / datum.value, '~g') : format(datum.value, '~g')" };
    return {
      width: "container", height: 18 * rows.length, data: { values: rows },
      layer: [
        {
          mark: { type: "bar", height: 9, cornerRadius: 1.5 },
          encoding: {
            y, x: { ...x, field: "value", axis }, x2: { field: "one" }, tooltip: { field: "tip" },
            fill: { condition: { test: "datum.control", value: "var(--paper)" }, value: "var(--accent)" },
            stroke: { condition: { test: "datum.control", value: "var(--quiet)" }, value: null },
            fillOpacity: { value: 0.55 },
          },
        },
        { mark: { type: "rule", color: "var(--ink)", strokeWidth: 1.2 }, encoding: { y, x: { ...x, field: "low" }, x2: { field: "high" }, tooltip: { field: "tip" } } },
        { transform: [{ filter: "datum.place === 0" }], mark: { type: "rule", color: "var(--quiet)" }, encoding: { x: { ...x, field: "one" } } },
      ],
    };
  }

  function panel(host, title) {
    const box = document.createElement("div");
    box.className = "panel";
    const heading = document.createElement("h3");
    heading.textContent = title;
    const canvas = document.createElement("div");
    box.append(heading, canvas);
    host.append(box);
    return canvas;
  }

  function chooser(field, data, chosen, changed) {
    const chips = field.querySelector("[data-chips]");
    const options = field.querySelector("[data-options]");
    const boxes = [];
    const chip = (name, kind) => {
      const element = document.createElement("span");
      element.className = `chip ${kind}`;
      element.append(document.createElement("i"), name);
      return element;
    };
    const refresh = () => {
      const shown = data.designs.filter((d) => chosen.has(d.slug));
      chips.replaceChildren(...shown.map((d) => chip(d.name, `s${chosen.get(d.slug) + 1}`)));
      const reference = data.designs.find((d) => d.slug === data.reference);
      if (reference) chips.append(chip(reference.name, "reference"));
      for (const box of boxes) box.disabled = chosen.size >= slots && !box.checked;
    };
    for (const design of data.designs) {
      if (design.slug === data.reference) continue;
      const label = document.createElement("label");
      const box = document.createElement("input");
      box.type = "checkbox";
      box.checked = chosen.has(design.slug);
      box.addEventListener("change", () => {
        const taken = new Set(chosen.values());
        if (box.checked) chosen.set(design.slug, [...Array(slots).keys()].find((slot) => !taken.has(slot)));
        else chosen.delete(design.slug);
        refresh();
        changed();
      });
      boxes.push(box);
      label.append(box, design.name);
      options.append(label);
    }
    field.hidden = false;
    refresh();
  }

  window.pairbenchCharts = { draw, panel, lines, told, figure };

  for (const host of document.querySelectorAll("[data-charts]")) {
    const data = JSON.parse(document.getElementById(host.dataset.charts).textContent);
    const chosen = chosenAtFirst(data);
    host.classList.add("ready");
    for (const numbers of host.querySelectorAll("details.numbers")) numbers.open = false; // open for want of pictures
    const find = (name) => host.querySelector(`[data-chart=${name}]`);
    const panels = find("curves") && data.panels.map((p) => [panel(find("curves"), p.environment), p]);
    const inner = (name) => find(name) && find(name).appendChild(document.createElement("div"));
    const [bars, steps] = [inner("savings"), inner("profile")];
    const redraw = () => {
      const drawn = series(data, chosen);
      for (const [canvas, p] of panels ?? []) draw(canvas, curves(p, drawn));
      if (steps) draw(steps, profile(data, drawn));
    };
    const field = host.querySelector("[data-chooser]");
    if (field) chooser(field, data, chosen, redraw);
    if (bars) draw(bars, savings(data));
    redraw();
  }
})();
