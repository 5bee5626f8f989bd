"use strict";
// Links that lead out of a run's folder are shown where the folders above it are as they were when they were written.
(() => {
  let here = "";
  try { here = decodeURIComponent(location.pathname.replace(/[^/]*$/, "")); } catch { return; } // a name that is not UTF-8
  for (const link of document.querySelectorAll("[data-below]")) link.hidden = !here.endsWith(`/${link.dataset.below}/`);
})();
// Enlarge a picture, and alternate it with its target.
(() => {
  const dialog = document.getElementById("enlarged");
  const find = (name) => dialog.querySelector(name);
  const shown = find(".shown"), against = find(".against"), caption = find("#enlarged-caption");
  const swap = find(".swap"), flicker = find(".flicker"), pace = find(".pace");
  let opener = null, timer = 0, text = "";

  const show = (isTarget) => {
    shown.style.visibility = isTarget ? "hidden" : "visible";
    against.style.visibility = isTarget ? "visible" : "hidden";
    swap.setAttribute("aria-pressed", isTarget);
    caption.textContent = isTarget ? "target" : text;
  };
  const isTarget = () => swap.getAttribute("aria-pressed") === "true";
  const stop = () => { clearInterval(timer); timer = 0; setFlicker(false); };
  const setFlicker = (on) => {
    flicker.setAttribute("aria-pressed", on);
    caption.setAttribute("aria-live", on ? "off" : "polite"); // a screen reader cannot keep up
  };
  const start = () => {
    clearInterval(timer);
    timer = setInterval(() => show(!isTarget()), 1000 / pace.valueAsNumber);
    setFlicker(true);
  };
  // A strongly enlarged picture shows its pixels as they are.
  const sharpen = (image) => image.classList.toggle("pixels", image.clientWidth >= 2 * image.naturalWidth);

  const open = (link) => {
    opener = link;
    const image = link.querySelector("img");
    shown.src = link.href;
    shown.alt = image.alt;
    text = link.parentElement.querySelector("figcaption")?.textContent ?? image.alt;
    const target = link.dataset.against;
    find(".comparing").hidden = !target;
    if (target) against.src = target; else against.removeAttribute("src");
    against.alt = target ? "target" : "";
    show(false);
    dialog.showModal();
    (target ? swap : find(".close")).focus();
  };

  for (const image of [shown, against]) image.addEventListener("load", () => sharpen(image));
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a.enlarge");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open(link);
  });
  const swapNow = () => { stop(); show(!isTarget()); };
  const toggle = () => (timer ? stop() : start());
  swap.addEventListener("click", swapNow);
  flicker.addEventListener("click", toggle);
  pace.addEventListener("input", () => timer && start());
  find(".close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target.closest(".stage") && dialog.close());
  dialog.addEventListener("keydown", (event) => {
    if (find(".comparing").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = { t: swapNow, f: toggle }[event.key.toLowerCase()];
    if (act) act();
  });
  dialog.addEventListener("close", () => { stop(); opener?.focus(); });
})();
