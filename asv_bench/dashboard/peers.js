"use strict";

$(function () {
  const data = JSON.parse($("#data").text());
  const settings = Object.keys(data.series[0] || {}).filter(
    (key) => key !== "implementation" && key !== "points"
  );
  const always = ["operation", "dtype", "threads"];
  const charts = [
    { id: "time", what: "Time per call", column: 1, format: seconds },
    { id: "bandwidth", what: "Bandwidth", column: 2, format: bandwidth },
  ];
  // The colour and the mark of a line are those of its place here, whatever else is shown.
  const implementations = data.implementations;
  const marks = ["–", "●", "■", "◆", "▲", "✖", "○", "□", "◇"];
  const symbols = [null, "circle", "square", "diamond", "triangle", "cross"];

  function digits(x) {
    return x >= 100 ? Math.round(x).toString() : x.toPrecision(3);
  }

  function scaled(x, units) {
    // A number that rounds up to 1000 belongs to the next unit.
    const [unit, size] = units.find(([, size]) => x / size < 999.5) || units[units.length - 1];
    return digits(x / size) + " " + unit;
  }

  function seconds(x) {
    return scaled(x, [["ns", 1e-9], ["µs", 1e-6], ["ms", 1e-3], ["s", 1]]);
  }

  function bandwidth(x) {
    return scaled(x, [["kB/s", 1e-6], ["MB/s", 1e-3], ["GB/s", 1], ["TB/s", 1e3]]);
  }

  function elements(n) {
    const power = Math.round(Math.log10(n));
    const raised = [...String(power)].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("");
    return n === 10 ** power && power > 2 ? "10" + raised : String(n);
  }

  function variable(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  /* The choices: a list for each setting, kept in the address. */

  function values(key) {
    const found = [...new Set(data.series.map((one) => String(one[key])))];
    return key === "operation" || key === "dtype"
      ? found
      : found.sort((a, b) => a - b || a.localeCompare(b));
  }

  function makeChoices() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    const others = settings.filter((key) => !always.includes(key) && values(key).length > 1);
    for (const key of [...always, ...others]) {
      const id = "choice-" + key.replace(/\W/g, "-");
      const select = $("<select>").attr({ id: id, name: key }).on("change", show);
      values(key).forEach((value) => select.append(new Option(value, value)));
      if (values(key).includes(wanted.get(key))) {
        select.val(wanted.get(key));
      }
      $("#choices").append($("<div>").append($("<label>").attr("for", id).text(key), select));
    }
    const measured = values("implementation");
    implementations.forEach((name, i) => {
      if (!measured.includes(name)) {
        return;
      }
      const box = $("<input type=checkbox checked>").val(name).on("change", show);
      const mark = $("<span aria-hidden=true>").text(marks[i]).css("color", `var(--line-${i})`);
      $("#legend").append($("<label>").append(box, mark, document.createTextNode(name)));
    });
  }

  function chosen() {
    return $("#choices select").toArray().map((select) => [select.name, select.value]);
  }

  /* What is shown of them. */

  function show() {
    const choice = chosen();
    const shown = $("#legend input:checked").toArray().map((box) => box.value);
    const lines = data.series.filter(
      (one) =>
        shown.includes(one.implementation) &&
        choice.every(([key, value]) => String(one[key]) === value)
    );
    const text = choice.map(([key, value]) => (key === "threads" ? `${key}: ${value}` : value));
    $("#status").text(
      lines.length ? `Shown: ${text.join(", ")}` : `Nothing was measured for ${text.join(", ")}`
    );
    history.replaceState(null, "", "#" + new URLSearchParams(choice));
    for (const chart of charts) {
      draw(chart, lines);
      tabulate(chart, lines, text.join(", "));
    }
  }

  /* Powers of ten that frame the values, so that every line lies within. */
  function decades(values) {
    const powers = values.map(Math.log10);
    const low = Math.floor(Math.min(...powers));
    const high = Math.max(Math.ceil(Math.max(...powers)), low + 1);
    return Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i));
  }

  function axis(values, format) {
    const ticks = values.length ? decades(values) : [1, 10];
    return {
      min: ticks[0],
      max: ticks[ticks.length - 1],
      ticks: ticks.map((tick) => [tick, format(tick)]),
      transform: Math.log10,
      inverseTransform: (x) => 10 ** x,
      color: variable("--rule"),
      font: { size: 13, lineHeight: 15, family: "system-ui, sans-serif", color: variable("--quiet") },
    };
  }

  function draw(chart, lines) {
    const drawn = lines.map((one) => {
      const i = implementations.indexOf(one.implementation);
      const symbol = symbols[i > 5 ? i - 5 : i];
      return {
        label: one.implementation,
        data: one.points.map((point) => [point[0], point[chart.column]]),
        color: variable(`--line-${i}`),
        lines: { show: true, lineWidth: i < 2 ? 3 : 1.5 },
        points: {
          show: symbol !== null,
          symbol: symbol || "circle",
          radius: 4,
          fill: true,
          fillColor: i > 5 ? variable("--back") : variable(`--line-${i}`),
        },
        shadowSize: 0,
      };
    });
    const points = drawn.flatMap((one) => one.data);
    $.plot("#" + chart.id, drawn, {
      xaxis: axis(points.map((point) => point[0]), elements),
      yaxis: axis(points.map((point) => point[1]), chart.format),
      grid: { hoverable: true, borderWidth: 1, borderColor: variable("--rule") },
      legend: { show: false },
    });
  }

  function tabulate(chart, lines, text) {
    const sizes = [...new Set(lines.flatMap((one) => one.points.map((point) => point[0])))];
    sizes.sort((a, b) => a - b);
    const cell = (tag, content) => $(tag).text(content);
    const head = $("<tr>").append(cell('<th scope="col">', "n"));
    sizes.forEach((n) => head.append(cell('<th scope="col">', elements(n))));
    const body = lines.map((one) => {
      const found = new Map(one.points.map((point) => [point[0], point[chart.column]]));
      const row = $("<tr>").append(cell('<th scope="row">', one.implementation));
      sizes.forEach((n) => row.append(cell("<td>", found.has(n) ? chart.format(found.get(n)) : "n/a")));
      return row;
    });
    $(`#${chart.id}-table`)
      .empty()
      .append(
        $("<caption>").text(`${chart.what}: ${text}`),
        $("<thead>").append(head),
        $("<tbody>").append(body)
      );
  }

  /* A point's figures beside the pointer. */
  function tip(event, position, item) {
    const chart = charts.find((one) => one.id === event.target.id);
    $("#tip").prop("hidden", !item);
    if (item) {
      const [n, value] = item.datapoint;
      $("#tip").text(`${item.series.label}, n = ${elements(n)}: ${chart.format(value)}`);
      const left = Math.min(item.pageX + 12, $(window).width() - $("#tip").outerWidth() - 4);
      $("#tip").css({ left: Math.max(left, 0), top: item.pageY - 36 });
    }
  }

  document.title = `Peers and limit: ${data.project}`;
  if (data.series.length === 0) {
    $("#about").text("No published commit has results of benchmarks/peers.py.");
    $("#choices, #legend, #charts").hide();
    return;
  }
  const machines = Object.entries(data.machines).map(([name, cpu]) => (cpu ? `${name} (${cpu})` : name));
  const day = new Date(data.date).toISOString().slice(0, 10);
  $("#about").text(
    `${data.project} at commit ${data.commit.slice(0, 8)} of ${day}, measured on ${machines.join(", ")}.`
  );
  makeChoices();
  show();
  $(".chart").on("plothover", tip);
  new ResizeObserver(show).observe($("#charts")[0]);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
});
