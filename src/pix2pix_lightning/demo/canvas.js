// A canvas of the pixels that the model gets: nothing is smoothed, so that a palette's colours stay what they are.
const canvas = element.querySelector("canvas");
const context = canvas.getContext("2d", {alpha: false, willReadFrequently: true});
const shelf = element.querySelector(".brushes");
const range = element.querySelector("input[type=range]"), output = element.querySelector("output");
const KEPT = 2 ** 24; // pixels of pictures to go back to
let given = {}, kind = "", brush = {}, before = [], last = null, isRectangle = false;

const keep = () => {
  before.push(context.getImageData(0, 0, canvas.width, canvas.height));
  const most = Math.max(1, Math.floor(KEPT / (canvas.width * canvas.height)));
  before.splice(0, Math.max(0, before.length - most));
};
const fill = colour => {
  context.fillStyle = colour;
  context.fillRect(0, 0, canvas.width, canvas.height);
};
const show = url => {
  const picture = new Image();
  picture.onload = () => {
    if (canvas.width !== picture.width || canvas.height !== picture.height) {
      [canvas.width, canvas.height] = [picture.width, picture.height];
      before = [];
    } else keep();
    context.drawImage(picture, 0, 0);
    canvas.dataset.shown = Number(canvas.dataset.shown || 0) + 1;
  };
  picture.src = url;
};
const setWidth = width => {
  brush.width = Number(width);
  range.value = output.value = brush.width;
};
const take = (chosen, button) => {
  brush = chosen;
  setWidth(brush.width);
  for (const other of shelf.children) other.setAttribute("aria-pressed", other === button);
};
const press = (name, pressed) => element.querySelector(`[data-do=${name}]`).setAttribute("aria-pressed", pressed);

const button = chosen => {
  const made = document.createElement("button"), colour = document.createElement("span");
  made.type = "button";
  colour.className = "colour";
  colour.style.background = chosen.colour;
  made.append(colour, chosen.name);
  made.onclick = () => take(chosen, made);
  return made;
};
const well = () => { // any colour, where any is as good
  const made = document.createElement("label"), input = document.createElement("input");
  const chosen = {name: "colour", colour: "#b0450b", width: 8};
  input.type = "color";
  input.value = chosen.colour;
  input.oninput = input.onclick = () => { chosen.colour = input.value; take(chosen, made); };
  made.append(input, "other");
  return made;
};
const load = value => {
  given = value;
  const now = JSON.stringify([value.brushes, value.size]);
  if (now !== kind) {
    const thick = Math.max(1, Math.round(value.size / 128));
    shelf.replaceChildren(...value.brushes.map(({name, colour}) =>
      button({name, colour, width: value.paints ? 6 * thick : name === "eraser" ? 8 * thick : thick})));
    if (value.free) shelf.append(well());
    isRectangle = value.paints;
    press("rectangle", isRectangle);
    shelf.children[value.paints ? Math.min(2, shelf.children.length - 1) : 0].click();
    show(value.picture || value.start);
  } else if (value.picture) show(value.picture); // another model of the same source keeps what is drawn
  kind = now;
};

const place = event => {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) * canvas.width / box.width, (event.clientY - box.top) * canvas.height / box.height];
};
const stamp = (x, y) => {
  const radius = brush.width / 2;
  for (let row = Math.floor(y - radius); row <= y + radius; row++) {
    const off = row + .5 - y;
    if (Math.abs(off) > radius) continue;
    const half = Math.sqrt(radius * radius - off * off), left = Math.round(x - half);
    context.fillRect(left, row, Math.max(1, Math.round(x + half) - left), 1);
  }
};
const line = ([fromX, fromY], [toX, toY]) => {
  const steps = Math.max(1, Math.ceil(2 * Math.max(Math.abs(toX - fromX), Math.abs(toY - fromY))));
  for (let step = 0; step <= steps; step++)
    stamp(fromX + (toX - fromX) * step / steps, fromY + (toY - fromY) * step / steps);
};
const rectangle = ([fromX, fromY], [toX, toY]) => {
  context.putImageData(before.at(-1), 0, 0);
  const left = Math.floor(Math.min(fromX, toX)), top = Math.floor(Math.min(fromY, toY));
  context.fillRect(left, top, Math.ceil(Math.max(fromX, toX)) - left, Math.ceil(Math.max(fromY, toY)) - top);
};

canvas.onpointerdown = event => {
  if (event.button) return;
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  keep();
  context.fillStyle = brush.colour;
  last = place(event);
  isRectangle ? rectangle(last, last) : stamp(...last);
};
canvas.onpointermove = event => {
  if (!last) return;
  const here = place(event);
  if (isRectangle) return rectangle(last, here);
  for (const moved of event.getCoalescedEvents?.() ?? []) {
    line(last, place(moved));
    last = place(moved);
  }
  line(last, here);
  last = here;
};
canvas.onpointerup = canvas.onpointercancel = () => { last = null; };
range.oninput = () => setWidth(range.value);

const actions = {
  rectangle: () => { isRectangle = !isRectangle; press("rectangle", isRectangle); },
  undo: () => {
    const picture = before.pop();
    if (picture) context.putImageData(picture, 0, 0);
  },
  clear: () => { keep(); fill(given.paints ? given.brushes[0].colour : "#ffffff"); },
  example: () => show(given.start),
  upload: () => file.click(),
};
const file = element.querySelector("input[type=file]");
const send = sent => {
  element.closest("#drawing").uploaded = sent;
  file.value = ""; // the same file can be chosen again
  trigger("upload");
};
file.onchange = () => {
  const [chosen] = file.files, reader = new FileReader();
  if (!chosen) return;
  if (chosen.size > given.maxBytes) return send(`bytes:${chosen.size}`);
  reader.onload = () => send(reader.result);
  reader.readAsDataURL(chosen);
};
for (const made of element.querySelectorAll("[data-do]")) made.onclick = () => actions[made.dataset.do]();
watch("value", () => props.value && load(props.value));
load(props.value);
