// Sorting comes from tablesort; here are the switches above the tables. Without scripts everything is shown.
"use strict";
(function () {
  for (const table of document.querySelectorAll("table.sortable")) {
    new Tablesort(table);
    for (const head of table.querySelectorAll("thead [role=columnheader]")) {
      head.addEventListener("keydown", function (event) {
        if (event.key === " ") {
          event.preventDefault();
          head.click();
        }
      });
    }
  }

  const switches = document.getElementById("switches");
  const found = document.getElementById("found");

  function apply() {
    const wanted = Object.fromEntries(new FormData(switches));
    const method = wanted.method.trim().toLowerCase();
    let shown = 0;
    for (const board of document.querySelectorAll(".board")) {
      let rows = 0;
      for (const row of board.querySelectorAll("tbody tr")) {
        if (!row.dataset.method) continue;
        const fits = (!wanted.status || row.dataset.status === wanted.status)
          && row.dataset.method.toLowerCase().includes(method);
        row.hidden = !fits;
        rows += fits;
      }
      board.hidden = Boolean(wanted.dataset && board.dataset.dataset !== wanted.dataset)
        || Boolean(wanted.protocol && board.dataset.protocol !== wanted.protocol)
        || rows === 0;
      if (!board.hidden) shown += rows;
    }
    const reported = document.getElementById("reported");
    if (reported) reported.hidden = !reported.querySelector(".board:not([hidden])");
    found.textContent = shown === 1 ? "1 row" : shown + " rows";
    // The address holds the switches, so that a view can be passed on.
    const chosen = new URLSearchParams(Object.entries(wanted).filter(([, value]) => value));
    history.replaceState(null, "", chosen.size ? "#" + chosen : location.pathname);
  }

  const asked = new URLSearchParams(location.hash.slice(1));
  for (const [name, value] of asked) {
    const field = switches.elements.namedItem(name);
    if (field) field.value = value;
  }
  switches.hidden = false;
  switches.addEventListener("input", apply);
  switches.addEventListener("submit", (event) => event.preventDefault());
  if (asked.size && [...asked.keys()].some((name) => switches.elements.namedItem(name))) apply();
})();
