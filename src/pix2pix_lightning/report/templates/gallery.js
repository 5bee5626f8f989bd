// One slider sets the epoch of all outputs; a row shows all epochs of one pair.
(() => {
  const articles = [...document.querySelectorAll("article")];
  const numbers = (text) => text.split(" ").filter(Boolean).map(Number);

  const fill = (figure, article, epoch) => {
    const [link, image] = [figure.querySelector("a"), figure.querySelector("img")];
    const name = epoch < 0 ? "untrained" : `epoch_${String(epoch).padStart(4, "0")}`;
    const when = epoch < 0 ? "before training" : `epoch ${epoch + 1}`;
    const isJpeg = numbers(article.dataset.jpeg ?? "").includes(epoch);
    const file = link.getAttribute("href").replace(/[^/]+$/, `${name}.${isJpeg ? "jpg" : "png"}`);
    link.setAttribute("href", file);
    image.setAttribute("src", file);
    image.alt = `output for ${article.dataset.name}, ${when}`;
    figure.querySelector("figcaption").textContent = `output, ${when}`;
  };

  for (const article of articles) {
    const details = article.querySelector(".growth");
    if (!details) continue;
    details.hidden = false;
    details.addEventListener("toggle", () => {
      if (details.querySelector(".strip")) return;
      const strip = document.createElement("div");
      strip.className = "strip";
      strip.tabIndex = 0;
      strip.setAttribute("role", "region");
      strip.setAttribute("aria-label", `Every epoch of ${article.dataset.name}`);
      for (const epoch of numbers(article.dataset.epochs)) {
        const figure = article.querySelector(".trio").children[1].cloneNode(true);
        fill(figure, article, epoch);
        strip.append(figure);
      }
      details.append(strip);
    });
  }

  const player = document.querySelector(".player");
  if (!player) return;
  const slider = player.querySelector("input"), counter = player.querySelector("output");
  const button = player.querySelector("button");
  const epochs = numbers(slider.dataset.epochs), last = epochs.length - 1;
  let timer = 0;

  const show = (index) => {
    const epoch = epochs[index];
    slider.value = index;
    counter.textContent = `${epoch + 1} of ${epochs[last] + 1}`;
    slider.setAttribute("aria-valuetext", counter.textContent);
    for (const article of articles) {
      // a pair without a picture of this epoch: its last one before, or else its first
      const own = numbers(article.dataset.epochs);
      fill(article.querySelector(".trio").children[1], article, own.findLast((e) => e <= epoch) ?? own[0]);
    }
  };
  const stop = () => { clearInterval(timer); timer = 0; button.textContent = "Play"; };
  const step = () => {
    show(slider.valueAsNumber + 1);
    if (slider.valueAsNumber === last) stop();
  };
  button.addEventListener("click", () => {
    if (timer) return stop();
    if (slider.valueAsNumber === last) show(0);
    timer = setInterval(step, Math.min(400, Math.max(100, 8000 / last)));
    button.textContent = "Pause";
  });
  slider.addEventListener("input", () => { stop(); show(slider.valueAsNumber); });
  // The browser restores a slider's position on reload; a printed page has the newest epoch, whatever was shown.
  let before = last;
  addEventListener("beforeprint", () => { stop(); before = slider.valueAsNumber; show(last); });
  addEventListener("afterprint", () => show(before));
  show(slider.valueAsNumber);
  player.hidden = false;
})();
