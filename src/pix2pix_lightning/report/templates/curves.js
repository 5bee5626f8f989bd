// Show the values of curves at a pointer, a finger or by arrow keys, and smooth the curves.
(() => {
  const draw = (parent, tag, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    parent.append(element);
    return element;
  };
  const format = (value) => (Number.isFinite(value) ? String(Number(value.toPrecision(4))) : "not finite");

  // An exponential moving average that is not drawn towards 0 at its start; a value that is not finite stays a gap.
  const smooth = (points, weight) => {
    let sum = 0, total = 0;
    return points.map(([x, y]) => {
      if (!Number.isFinite(y)) return [x, NaN];
      sum = weight * sum + (1 - weight) * y;
      total = weight * total + (1 - weight);
      return [x, sum / total];
    });
  };

  const setUp = (figure) => {
    const svg = figure.querySelector(":scope > svg");
    const [left, right, bottom, top] = svg.dataset.plot.split(" ").map(Number);
    const [x0, x1] = svg.dataset.x.split(" ").map(Number), [y0, y1] = svg.dataset.y.split(" ").map(Number);
    const share = (value, low, high) => (high > low ? (value - low) / (high - low) : 0.5);
    const place = ([x, y]) => [left + share(x, x0, x1) * (right - left), bottom - share(y, y0, y1) * (bottom - top)];
    const lines = [...svg.querySelectorAll("g.line")].map((group) => {
      const points = group.dataset.values.split(" ").filter(Boolean).map((pair) => pair.split(",").map(Number));
      return { group, points, smoothed: null, label: group.dataset.label, style: group.dataset.style };
    });
    const steps = [...new Set(lines.flatMap((line) => line.points.map(([x]) => x)))].sort((one, other) => one - other);
    const cursor = draw(svg, "line", { class: "cursor", y1: top, y2: bottom, visibility: "hidden" });
    for (const line of lines) line.dot = draw(svg, "circle", { class: `${line.style} at`, r: 5, visibility: "hidden" });
    const readout = document.createElement("p");
    readout.className = "readout";
    svg.after(readout);
    let index = steps.length - 1;

    const describe = (line, at) => {
      const value = format(line.points[at][1]);
      const text = line.smoothed ? `${format(line.smoothed[at][1])} smoothed, ${value} measured` : value;
      return lines.length > 1 ? `${line.label} ${text}` : text;
    };
    const hide = () => {
      for (const element of [cursor, ...lines.map((line) => line.dot)]) element.setAttribute("visibility", "hidden");
      readout.textContent = "";
    };
    const show = (to) => {
      index = Math.min(Math.max(to, 0), steps.length - 1);
      const step = steps[index], texts = [];
      for (const line of lines) {
        const at = line.points.findIndex(([x]) => x === step);
        const [x, y] = at < 0 ? [step, NaN] : place((line.smoothed ?? line.points)[at]);
        line.dot.setAttribute("visibility", Number.isFinite(y) ? "visible" : "hidden");
        if (Number.isFinite(y)) line.dot.setAttribute("cx", x), line.dot.setAttribute("cy", y);
        if (at >= 0) texts.push(describe(line, at));
      }
      const [x] = place([step, y0]);
      cursor.setAttribute("x1", x), cursor.setAttribute("x2", x), cursor.setAttribute("visibility", "visible");
      readout.textContent = `${step.toLocaleString("en")} ${svg.dataset.xLabel}: ${texts.join("; ")}`;
      svg.setAttribute("aria-valuenow", index);
      svg.setAttribute("aria-valuetext", readout.textContent);
    };
    const follow = (event) => {
      const box = svg.getBoundingClientRect(), [, , width] = svg.getAttribute("viewBox").split(" ").map(Number);
      const across = ((event.clientX - box.left) / box.width) * width;
      const distances = steps.map((step) => Math.abs(place([step, y0])[0] - across));
      show(distances.indexOf(Math.min(...distances)));
    };
    svg.addEventListener("pointermove", follow);
    svg.addEventListener("pointerdown", follow);
    svg.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse" && document.activeElement !== svg) hide();
    });
    // a slider over the points of the curves, for the keyboard and for screen readers
    svg.setAttribute("tabindex", "0");
    svg.setAttribute("role", "slider");
    svg.setAttribute("aria-valuemin", 0);
    svg.setAttribute("aria-valuemax", steps.length - 1);
    svg.setAttribute("aria-valuenow", index);
    svg.addEventListener("focus", () => svg.matches(":focus-visible") && show(index));
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: index - 1, ArrowDown: index - 1, ArrowRight: index + 1, ArrowUp: index + 1,
                      PageDown: index - 10, PageUp: index + 10, Home: 0, End: steps.length - 1 };
      if (!(event.key in moves)) return;
      event.preventDefault();
      show(moves[event.key]);
    });

    return (weight) => {
      hide();
      for (const line of lines) {
        line.drawn?.remove();
        line.smoothed = weight ? smooth(line.points, weight) : null;
        for (const element of line.group.children) element.classList.toggle("is-raw", Boolean(weight));
        if (!weight) continue;
        line.drawn = draw(svg, "g", {});
        let part = [];
        for (const point of [...line.smoothed, [NaN, NaN]]) {
          if (Number.isFinite(point[1])) { part.push(place(point).map((value) => value.toFixed(1)).join(",")); continue; }
          if (part.length > 1) draw(line.drawn, "polyline", { class: line.style, points: part.join(" ") });
          part = [];
        }
        svg.append(line.dot);
      }
    };
  };

  const setters = [...document.querySelectorAll("figure.chart:has(> svg)")].map(setUp);
  const bar = document.querySelector(".smoothing");
  if (!bar || !setters.length) return;
  const slider = bar.querySelector("input"), output = bar.querySelector(".value");
  const apply = () => {
    output.textContent = slider.valueAsNumber ? slider.value : "off";
    slider.setAttribute("aria-valuetext", output.textContent);
    for (const set of setters) set(slider.valueAsNumber);
  };
  slider.addEventListener("input", apply);
  bar.hidden = false;
  apply(); // a browser restores the slider's position when a page is reloaded
})();
