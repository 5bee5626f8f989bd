
// Sort the pairs by a metric.
(() => {
  const bar = document.querySelector(".sorting");
  const list = document.querySelector(".pairs");
  const by = document.getElementById("by"), order = document.getElementById("order");
  const status = bar.querySelector("[role=status]");
  const pairs = [...list.children];
  const place = new Map(pairs.map((pair) => [pair, Number(pair.dataset.place)]));

  // Distance of a value from that of a perfect output. Pairs without a value come last in both orders.
  const distance = (pair, metric, best) => {
    const text = pair.querySelector(`[data-metric="${CSS.escape(metric)}"]`).dataset.value;
    if (text === undefined) return null;
    if (!Number.isFinite(Number(best))) return best === "Infinity" ? -Number(text) : Number(text);
    return Math.abs(Number(text) - Number(best));
  };

  const sort = () => {
    const metric = by.value, option = by.selectedOptions[0], sign = order.value === "best" ? 1 : -1;
    order.parentElement.hidden = !metric;
    const ranked = pairs.map((pair) => [pair, metric ? distance(pair, metric, option.dataset.best) : place.get(pair)]);
    ranked.sort(([one, x], [other, y]) => {
      if (x === null || y === null) return (x === null) - (y === null) || place.get(one) - place.get(other);
      return (metric ? sign : 1) * (x - y) || place.get(one) - place.get(other);
    });
    list.append(...ranked.map(([pair]) => pair));
    for (const value of list.querySelectorAll("[data-metric]"))
      value.classList.toggle("key", value.dataset.metric === metric);
    status.textContent = metric
      ? `${pairs.length} pairs by ${option.text}, ${order.selectedOptions[0].text}`
      : `${pairs.length} pairs in the split's order`;
  };

  by.addEventListener("change", sort);
  order.addEventListener("change", sort);
  bar.hidden = false;
  sort(); // a browser restores the selection when a page is reloaded
})();
