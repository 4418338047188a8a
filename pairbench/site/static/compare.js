// Two designs of a board, seed by seed. Their gaps are scripts, which a page in a folder can load.
"use strict";

window.pairbench = { receive: null };

(() => {
  const pick = document.querySelector("[data-compare]");
  if (!pick) return;
  const told = JSON.parse(document.getElementById(pick.dataset.compare).textContent);
  const [a, b] = ["a", "b"].map((side) => pick.querySelector(`[data-side=${side}]`));
  const results = document.querySelector("[data-results]");
  const summary = document.querySelector("[data-summary]");
  const loaded = new Map();
  const { draw, panel, lines, figure } = pairbenchCharts;

  window.pairbench.receive = (design) => loaded.set(design.slug, design);

  function load(slug) {
    if (loaded.has(slug)) return Promise.resolve(loaded.get(slug));
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = `${told.folder}${slug}.js`;
      script.addEventListener("load", () => resolve(loaded.get(slug)));
      script.addEventListener("error", () => reject(new Error(`${script.src} cannot be read`)));
      document.head.append(script);
    });
  }

  const mean = (values) => values.reduce((sum, x) => sum + x, 0) / values.length;

  // mean(x) / mean(y) over paired seeds, with the interval of its logarithm: to first order, seed s
  // moves it by x_s / mean(x) − y_s / mean(y), whose mean is 0.
  function ratio(x, y) {
    const [mx, my] = [mean(x), mean(y)];
    if (mx === 0 && my === 0) return { value: 1, low: 1, high: 1 };
    if (mx === 0 || my === 0) return { value: mx / my, low: null, high: null };
    const n = x.length;
    const t = told.student[n];
    const value = mx / my;
    if (t === undefined) return { value, low: null, high: null };
    const variance = mean(x.map((xs, s) => (xs / mx - y[s] / my) ** 2)) * (n / (n - 1));
    const factor = Math.exp(t * Math.sqrt(variance / n));
    return { value, low: value / factor, high: value * factor };
  }

  function compared(one, other) {
    return one.curves.map((curve, k) => {
      const against = other.curves[k];
      const rows = new Map(against.seeds.map((seed, s) => [seed, against.gaps[s]]));
      const shared = curve.seeds.map((seed, s) => [curve.gaps[s], rows.get(seed)]).filter((pair) => pair[1]);
      const budgets = curve.budgets.filter((budget) => against.budgets.includes(budget));
      return budgets.map((budget) => {
        const [i, j] = [curve.budgets.indexOf(budget), against.budgets.indexOf(budget)];
        return { budget, ...ratio(shared.map((pair) => pair[0][i]), shared.map((pair) => pair[1][j])) };
      });
    });
  }

  const verdict = ({ low, high }) => (low === null ? 0 : high < 1 ? 1 : low > 1 ? -1 : 0);

  function cell(kind, text, className) {
    const element = document.createElement(kind);
    element.textContent = text;
    if (className) element.className = className;
    return element;
  }

  function table(found) {
    const target = document.querySelector("[data-differences]");
    const budgets = [...new Set(found.flatMap((row) => row.map((x) => x.budget)))].sort((x, y) => x - y);
    const head = document.createElement("tr");
    head.append(cell("th", "Environment", "stick"), ...budgets.map((budget) => cell("th", budget)));
    for (const element of head.cells) element.scope = "col";
    target.tHead.replaceChildren(head);
    target.tBodies[0].replaceChildren(
      ...found.map((row, k) => {
        const line = document.createElement("tr");
        const name = cell("th", told.environments[k], "stick");
        name.scope = "row";
        line.append(name);
        for (const budget of budgets) {
          const x = row.find((point) => point.budget === budget);
          const shown = cell("td", x ? figure(x.value) : "–", x ? `w${2 * verdict(x)}` : "");
          if (x && x.low !== null) shown.append(" ", cell("small", `${figure(x.low)} to ${figure(x.high)}`));
          line.append(shown);
        }
        return line;
      }),
    );
  }

  function charts(found) {
    const host = document.querySelector("[data-ratios]");
    host.replaceChildren();
    found.forEach((row, k) => {
      const rows = row.filter((x) => x.value > 0 && Number.isFinite(x.value)).map((x) => ({
        name: "ratio", state: "chosen", colour: "var(--c1)", x: x.budget, y: x.value, low: x.low, high: x.high,
        tip: `${x.budget} ${told.unit[k]}\n${figure(x.value)}${x.low === null ? "" : ` (${figure(x.low)} to ${figure(x.high)})`}`,
      }));
      // Half and twice are always there, so that an axis has its ticks and noise looks as small as it is.
      const ends = [1 / 2, 2, ...rows.flatMap((x) => [x.y, x.low, x.high]).filter((x) => x > 0 && Number.isFinite(x))];
      const one = [{ data: { values: [{ y: 1 }] }, mark: { type: "rule", color: "var(--quiet)" }, encoding: { y: { field: "y", type: "quantitative" } } }];
      draw(panel(host, told.environments[k]), lines({
        rows, extra: one, bands: true, height: 170,
        x: { field: "x", type: "quantitative", scale: { type: "log", nice: false }, axis: { values: row.map((x) => x.budget), title: told.unit[k], grid: false, format: "~s" } },
        y: { field: "y", type: "quantitative", scale: { type: "log", base: 2, nice: false, domain: [Math.min(...ends), Math.max(...ends)], padding: 10 }, axis: { title: "gap of A over B", values: [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16, 32], format: "~g" } },
      }));
    });
  }

  async function show() {
    if (a.value === b.value) {
      results.hidden = true;
      summary.textContent = "Choose two different designs.";
      return;
    }
    const wanted = [a.value, b.value];
    history.replaceState(null, "", `#${wanted.join("&")}`);
    let designs;
    try {
      designs = await Promise.all(wanted.map(load));
    } catch (error) {
      results.hidden = true;
      summary.textContent = `${error.message}. Build the pages again.`;
      return;
    }
    if (a.value !== wanted[0] || b.value !== wanted[1]) return; // chosen anew meanwhile
    const found = compared(...designs);
    const last = found.map((row) => verdict(row.filter((x) => x.low !== null).at(-1) ?? row.at(-1)));
    const count = (side) => last.filter((v) => v === side).length;
    const even = count(0) ? `; in ${count(0)} the seeds do not tell them apart` : "";
    summary.textContent =
      `After the last budget that both have, ${designs[0].name} has the smaller gap in ${count(1)} of ${last.length} ` +
      `environments, ${designs[1].name} in ${count(-1) || "none"}${even}.`;
    results.hidden = false;
    results.classList.add("ready");
    table(found);
    charts(found);
  }

  function fromAddress() {
    const given = location.hash.slice(1).split("&");
    const has = (select, slug) => [...select.options].some((option) => option.value === slug);
    a.value = has(a, given[0]) ? given[0] : told.a;
    b.value = has(b, given[1]) ? given[1] : told.b;
    if (a.value === b.value) b.value = [...b.options].find((option) => option.value !== a.value).value;
    show();
  }

  a.addEventListener("change", show);
  b.addEventListener("change", show);
  pick.querySelector("[data-swap]").addEventListener("click", () => {
    [a.value, b.value] = [b.value, a.value];
    show();
  });
  addEventListener("hashchange", fromAddress);
  document.querySelector("[data-without]").hidden = true;
  pick.hidden = false;
  fromAddress();
})();
