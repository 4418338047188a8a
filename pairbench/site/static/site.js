// What a table can do with a script: sorting, filtering; and one tooltip for all of the page.
"use strict";

(() => {
  document.documentElement.classList.add("scripted");

  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent.trim().toLowerCase() : Number(cell.dataset.value);
  };

  const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, "en"));

  function sort(table, column, direction) {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [value(row, column), row]);
    rows.sort((a, b) => direction * compare(a[0], b[0]));
    body.append(...rows.map((pair) => pair[1]));
    for (const head of table.tHead.rows[0].cells) head.removeAttribute("aria-sort");
    table.tHead.rows[0].cells[column].setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
  }

  for (const table of document.querySelectorAll("table[data-sortable]")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      if (head.dataset.tip) {
        button.dataset.tip = head.dataset.tip;
        delete head.dataset.tip;
      }
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        const first = "down" in head.dataset ? -1 : 1;
        sort(table, column, now === null ? first : now === "ascending" ? -1 : 1);
      });
    });
  }

  for (const filters of document.querySelectorAll("[data-filters]")) {
    const rows = [...document.getElementById(filters.dataset.filters).tBodies[0].rows];
    const text = filters.querySelector("[data-filter=text]");
    const family = filters.querySelector("[data-filter=family]");
    const count = filters.querySelector("[data-count]");
    const apply = () => {
      const wanted = text.value.trim().toLowerCase();
      let shown = 0;
      for (const row of rows) {
        // Design, family and author: not what the badge says.
        const words = [...row.querySelectorAll(".stick, .words")].map((cell) => cell.textContent.toLowerCase());
        const fits = words.some((word) => word.includes(wanted));
        row.hidden = !(fits && (!family.value || row.dataset.family === family.value));
        shown += !row.hidden;
      }
      count.textContent = shown === rows.length ? "" : `${shown} of ${rows.length}`;
    };
    text.addEventListener("input", apply);
    family.addEventListener("change", apply);
    filters.hidden = false;
    apply(); // what the browser remembers of an earlier visit
  }

  const tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;
  document.body.append(tip);

  window.pairbenchTip = {
    show(text, x, y) {
      tip.textContent = text;
      tip.hidden = false;
      const box = tip.getBoundingClientRect();
      tip.style.left = `${Math.max(8, Math.min(x, innerWidth - box.width - 8))}px`;
      tip.style.top = `${y + box.height + 8 > innerHeight ? Math.max(8, y - box.height - 32) : y}px`;
    },
    hide() {
      tip.hidden = true;
    },
  };

  const hinted = (target) => (target instanceof Element ? target.closest("[data-tip]") : null);
  const open = (event) => {
    const element = hinted(event.target);
    if (!element) return;
    const box = element.getBoundingClientRect();
    pairbenchTip.show(element.dataset.tip, box.left, box.bottom + 6);
    element.setAttribute("aria-describedby", "tip");
  };
  const close = (event) => {
    const element = hinted(event.target);
    if (!element) return;
    pairbenchTip.hide();
    element.removeAttribute("aria-describedby");
  };
  for (const element of document.querySelectorAll("[data-tip][title]")) element.removeAttribute("title");
  document.addEventListener("mouseover", open);
  document.addEventListener("mouseout", close);
  document.addEventListener("focusin", open);
  document.addEventListener("focusout", close);
  document.addEventListener("keydown", (event) => event.key === "Escape" && pairbenchTip.hide());
})();
