
// A session: pairs by a seed, each picture for a second, an answer, and a file of all answers at the end.
(() => {
  const root = document.getElementById("study");
  const find = (name) => root.querySelector(name);
  const study = JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(root.dataset.study), (c) => c.charCodeAt(0))));
  const sides = ["left", "right"];
  const total = study.practice + study.trials;
  // In milliseconds; those between the pictures are of the tool of the paper's authors.
  const before = 900, shown = 1000, halfFrame = 8, between = 600, after = 100, told = 2400;
  const boxes = Object.fromEntries(sides.map((side) => [side, find(`.box[data-side=${side}]`)]));
  const buttons = Object.fromEntries(sides.map((side) => [side, find(`.answer[data-side=${side}]`)]));
  const labels = Object.fromEntries(sides.map((side) => [side, boxes[side].parentElement.querySelector(".label")]));
  let isRunning = false, accept = null;

  const wait = (time) => new Promise((resolve) => setTimeout(resolve, time));
  const nextFrame = () => new Promise((resolve) => requestAnimationFrame(resolve));
  const open = (name) => { for (const section of root.querySelectorAll("section")) section.hidden = !section.matches(name); };
  const drawWord = () => crypto.getRandomValues(new Uint32Array(1))[0];

  // mulberry32: numbers in [0, 1) that any language computes alike.
  const seedRandom = (seed) => () => {
    seed = (seed + 0x6d2b79f5) >>> 0;
    let x = Math.imul(seed ^ (seed >>> 15), seed | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };

  const drawTrials = (seed) => {
    const random = seedRandom(seed), order = study.pairs.map((_, index) => index);
    for (let last = order.length - 1; last > 0; last--) {
      const other = Math.floor(random() * (last + 1));
      [order[last], order[other]] = [order[other], order[last]];
    }
    const shift = study.same_input ? 0 : Math.floor(order.length / 2);
    return Array.from({ length: total }, (_, index) => {
      const generated = study.pairs[order[index]], real = study.pairs[order[(index + shift) % order.length]];
      const side = sides[Math.floor(random() * 2)];
      return { generated: generated[0], real: real[0], side, files: side === "left" ? [real[1], generated[2]] : [generated[2], real[1]] };
    });
  };

  const load = async (file) => {
    const image = new Image();
    image.alt = "";
    image.draggable = false;
    image.src = file;
    await image.decode();
    return image;
  };

  const show = async (image) => {
    image.style.visibility = "visible";
    await nextFrame();
    const start = performance.now();
    await wait(shown - halfFrame); // so that the frame after a second no longer has it
    image.style.visibility = "hidden";
    await nextFrame();
    return Math.round(10 * (performance.now() - start)) / 10;
  };

  const ask = () => new Promise((resolve) => {
    const start = performance.now();
    for (const side of sides) buttons[side].disabled = false;
    accept = (side) => {
      accept = null;
      for (const each of sides) buttons[each].disabled = true;
      resolve([side, Math.round(10 * (performance.now() - start)) / 10]);
    };
  });

  const tell = async (trial, images, answer) => {
    const isRight = answer !== trial.side;
    for (const [index, side] of sides.entries()) {
      labels[side].textContent = side === trial.side ? "real" : "generated";
      images[index].style.visibility = "visible";
    }
    boxes[answer].classList.add(isRight ? "right" : "wrong");
    find(".feedback").textContent = isRight ? "You were right." : "You were wrong: that one is real.";
    await wait(told);
    for (const side of sides) labels[side].textContent = "";
    boxes[answer].classList.remove("right", "wrong");
    find(".feedback").textContent = "";
  };

  const run = async (trial, images, number) => {
    const isPractice = number <= study.practice;
    find(".progress").textContent = isPractice
      ? `Practice: pair ${number} of ${study.practice}` : `Pair ${number - study.practice} of ${study.trials}`;
    find("progress").value = number - 1;
    for (const [index, side] of sides.entries()) boxes[side].replaceChildren(images[index]);
    await wait(before);
    const left = await show(images[0]);
    await wait(between);
    const right = await show(images[1]);
    await wait(after);
    const [answer, time] = await ask();
    if (isPractice) await tell(trial, images, answer);
    for (const side of sides) boxes[side].replaceChildren();
    return {
      trial: number, practice: isPractice, generated_pair: trial.generated, real_pair: trial.real, real: trial.side,
      called_generated: answer, reaction_ms: time, shown_ms: [left, right],
    };
  };

  const pause = () => new Promise((resolve) => {
    open(".pause");
    find(".continue").focus();
    find(".continue").addEventListener("click", resolve, { once: true });
  });

  const finish = (content) => {
    const link = find(".save");
    link.href = URL.createObjectURL(new Blob([`${JSON.stringify(content, null, 1)}\n`], { type: "application/json" }));
    link.download = `answers_${content.session.slice(0, 12)}.json`;
    link.addEventListener("click", () => {
      isRunning = false;
      find(".saved").textContent = `Saved as ${link.download}. You can close this page.`;
    });
    open(".end");
    link.focus();
  };

  const start = async () => {
    const text = find(".seed").value.trim(), problem = find(".problem");
    if (!/^\d*$/.test(text) || Number(text) >= 2 ** 32) {
      problem.textContent = "The seed is a whole number below 4294967296, or nothing.";
      return;
    }
    const seed = text === "" ? drawWord() : Number(text), trials = drawTrials(seed);
    find(".start").disabled = true;
    problem.textContent = "Loading the pictures";
    let pictures;
    try {
      pictures = await Promise.all(trials.map((trial) => Promise.all(trial.files.map(load))));
    } catch {
      find(".start").disabled = false;
      problem.textContent = "A picture cannot be loaded: keep this page in its folder, next to the folder pictures.";
      return;
    }
    problem.textContent = "";
    isRunning = true;
    const session = Array.from({ length: 4 }, () => drawWord().toString(16).padStart(8, "0")).join("");
    const { study: name, algorithm, same_input, practice, trials: count } = study;
    const content = {
      format: "pix2pix_lightning perceptual study 1", session, study: name, algorithm, seed, same_input, practice,
      trials: count, started: new Date().toISOString(), answers: [],
    };
    open(".session");
    for (const [index, trial] of trials.entries()) {
      if (practice && index === practice) { await pause(); open(".session"); }
      content.answers.push(await run(trial, pictures[index], index + 1));
    }
    finish(content);
  };

  for (const side of sides) {
    buttons[side].disabled = true;
    buttons[side].addEventListener("click", () => accept?.(side));
  }
  document.addEventListener("keydown", (event) => {
    const side = { ArrowLeft: "left", ArrowRight: "right" }[event.key];
    if (!side || !accept || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    accept(side);
  });
  window.addEventListener("beforeunload", (event) => isRunning && event.preventDefault());
  find(".start").addEventListener("click", start);
  open(".intro");
})();
