// Draws the charts of the page, one after the other, and lets the reader pick a row.
const [config, ...charts] = JSON.parse(document.getElementById("specs").textContent);
const views = [];

function rowsOf(columns) {
  const plain = Object.entries(columns).map(([key, own]) => [key, own.words ? own.at.map((at) => own.words[at]) : own]);
  return (plain[0]?.[1] ?? []).map((_, at) => Object.fromEntries(plain.map(([key, values]) => [key, values[at]])));
}

function focus(row) {
  for (const view of views) view.signal("focus", row).run();
  for (const button of document.querySelectorAll("[data-row]"))
    button.setAttribute("aria-pressed", String(button.dataset.row === row));
}

async function draw() {
  for (const [at, { spec, data }] of charts.entries()) {
    const place = document.getElementById(`chart-${at + 1}`);
    spec.datasets = Object.fromEntries(Object.entries(data).map(([name, value]) => [name, rowsOf(value)]));
    try {
      const { view } = await vegaEmbed(place, spec, {
        ast: true, // expressions are interpreted: the page's policy forbids to compile them
        actions: false,
        // Names of rows may take two fifths of a chart.
        config: { ...config, axis: { ...config.axis, labelLimit: Math.round(0.4 * place.clientWidth) } },
        defaultStyle: false,
        mode: "vega-lite",
        renderer: "svg",
        tooltip: { disableDefaultStyle: true },
      });
      if (spec.params?.some((one) => one.name === "focus")) views.push(view);
    } catch (error) {
      place.textContent = `This chart cannot be drawn: ${error.message}`;
      console.error(error);
    }
    document.documentElement.dataset.drawn = at + 1;
  }
}

for (const button of document.querySelectorAll("[data-row]"))
  button.addEventListener("click", () => focus(button.getAttribute("aria-pressed") === "true" ? "" : button.dataset.row));
draw();
