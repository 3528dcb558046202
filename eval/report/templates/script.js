"use strict";
// The page is whole without this: it sorts the tables, and offers the data as a file.
document.documentElement.classList.add("script");

function order(row, column) {
  const value = row.cells[column].dataset.order;
  return value === undefined ? null : Number(value);
}

function sort(table, headings, column, ascending) {
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => {
    const x = order(a, column), y = order(b, column);
    // What has no figure comes last, whichever way the others go.
    if (x === null || y === null) return (x === null) - (y === null);
    return ascending ? x - y : y - x;
  });
  table.tBodies[0].append(...rows);
  headings.forEach((heading) => heading.removeAttribute("aria-sort"));
  headings[column].setAttribute("aria-sort", ascending ? "ascending" : "descending");
}

document.querySelectorAll("table.figures").forEach((table) => {
  const headings = [...table.tHead.rows[1].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      // The order of the run from its start; figures from the highest.
      const first = column === 0 ? "ascending" : "descending";
      const again = heading.getAttribute("aria-sort") === first;
      sort(table, headings, column, (first === "ascending") !== again);
    });
  });
});

const data = document.getElementById("data").textContent;
document.getElementById("download").href = URL.createObjectURL(new Blob([data], { type: "application/json" }));
