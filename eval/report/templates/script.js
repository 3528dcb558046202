"use strict";
// The page is whole without this: it sorts, filters and widens the tables, leads to samples, copies commands, lays pairs
// over each other, and offers the data as a file.
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

function filter(table, text, count) {
  const rows = [...table.tBodies[0].rows], words = text.toLowerCase().split(/[\s,]+/).filter(Boolean);
  rows.forEach((row) => {
    const name = row.querySelector(".name").textContent.toLowerCase();
    row.hidden = words.length > 0 && !words.some((word) => name.includes(word));
  });
  const shown = rows.filter((row) => !row.hidden).length;
  count.value = shown < rows.length ? `${shown} of ${rows.length} rows` : `${rows.length} rows`;
}

function showColumns(table, boxes) {
  const shown = new Set(boxes.filter((box) => box.checked).map((box) => Number(box.value)));
  [...table.rows].forEach((row) => [...row.cells].forEach((cell, place) => {
    cell.classList.toggle("more", place > 0 && !shown.has(place));
  }));
}

document.querySelectorAll("table.figures").forEach((table) => {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      // The order of the run from its start; figures from the highest.
      const first = column === 0 ? "ascending" : "descending";
      const again = heading.getAttribute("aria-sort") === first;
      sort(table, headings, column, (first === "ascending") !== again);
    });
  });
});

document.querySelectorAll("form.choose").forEach((form) => {
  const table = document.getElementById(form.dataset.table), boxes = [...form.querySelectorAll("[name=column]")];
  const update = () => {
    filter(table, form.elements.filter.value, form.querySelector("output"));
    showColumns(table, boxes);
  };
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(update));
  form.querySelector("[value=all]").addEventListener("click", () => {
    boxes.forEach((box) => { box.checked = true; });
    update();
  });
  update();
});

document.querySelectorAll("form.views").forEach((form) => {
  const pairs = form.closest("section");
  form.addEventListener("input", () => {
    pairs.dataset.view = form.elements.view.value;
    pairs.style.setProperty("--gain", form.elements.gain.value);
    form.querySelector("output").value = form.elements.gain.value;
  });
});

document.querySelectorAll("input.cut").forEach((cut) => {
  cut.addEventListener("input", () => cut.previousElementSibling.style.setProperty("--cut", `${cut.value}%`));
});

// Rows lead to their samples where these are: a page that was copied away from its run has no dead link.
document.querySelectorAll("[data-probe]").forEach((section) => {
  const probe = new Image();
  probe.addEventListener("load", () => {
    section.querySelectorAll(".to-samples").forEach((link) => { link.hidden = false; });
  });
  probe.src = section.dataset.probe;
});

// Not every browser opens what it is sent into.
document.querySelectorAll('a[href^="#again-"]').forEach((link) => {
  link.addEventListener("click", () => { document.getElementById("again").open = true; });
});

document.querySelectorAll("button.copy").forEach((button) => {
  const code = button.previousElementSibling;
  button.addEventListener("click", async () => {
    getSelection().selectAllChildren(code);  // it can be copied by hand where scripts may not
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  });
});

const data = document.getElementById("data").textContent;
document.getElementById("download").href = URL.createObjectURL(new Blob([data], { type: "application/json" }));
