// A canvas with exactly the pixels that the model gets: nothing is antialiased, since a palette has no colours between.
const canvas = element.querySelector("canvas");
const context = canvas.getContext("2d", {alpha: false, willReadFrequently: true});
const brushList = element.querySelector(".brushes");
const range = element.querySelector("input[type=range]"), output = element.querySelector("output");
const MAX_UNDO_PIXELS = 2 ** 24, TRANSLATE_EVERY = 100, RETRY_AFTER = 3000; // milliseconds
let canvasState = {}, kind = "", brush = {}, undoStack = [], last = null, isRectangle = false, isWaiting = false;
const drawing = element.closest("#drawing");

// The answer can be lost on the way until the server answers something else: let it do so while there is none.
let retry;
const keepAsking = wait => {
  clearTimeout(retry);
  retry = setTimeout(() => { trigger("retry"); keepAsking(2 * wait); }, wait);
};
drawing.endRequest = () => clearTimeout(retry);
// What the demo asks next, after the answer to its last request: the canvas of a model that was chosen, a file on the
// canvas, or a translation of what is drawn by then.
drawing.chooseRequest = model => {
  keepAsking(RETRY_AFTER);
  if (model !== canvasState.model) return "model";
  const sent = drawing.uploadedFile;
  delete drawing.uploadedFile;
  return sent ? `upload ${sent}` : `drawing ${canvas.toDataURL("image/png")}`;
};
// Ask for a translation soon.
const translateSoon = () => {
  if (isWaiting) return;
  isWaiting = true;
  setTimeout(() => { isWaiting = false; trigger("input"); }, TRANSLATE_EVERY);
};
const pushUndo = () => {
  undoStack.push(context.getImageData(0, 0, canvas.width, canvas.height));
  const limit = Math.max(1, Math.floor(MAX_UNDO_PIXELS / (canvas.width * canvas.height)));
  undoStack.splice(0, Math.max(0, undoStack.length - limit));
};
const fill = colour => {
  context.fillStyle = colour;
  context.fillRect(0, 0, canvas.width, canvas.height);
};
const show = (url, isTranslated = false) => {
  const picture = new Image();
  picture.onload = () => {
    if (canvas.width !== picture.width || canvas.height !== picture.height) {
      [canvas.width, canvas.height] = [picture.width, picture.height];
      undoStack = [];
    } else pushUndo();
    context.drawImage(picture, 0, 0);
    canvas.dataset.shown = Number(canvas.dataset.shown || 0) + 1;
    if (!isTranslated) translateSoon();
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
  for (const other of brushList.children) other.setAttribute("aria-pressed", other === button);
};
const press = (name, pressed) => element.querySelector(`[data-do=${name}]`).setAttribute("aria-pressed", pressed);

const button = chosen => {
  const control = document.createElement("button"), colour = document.createElement("span");
  control.type = "button";
  colour.className = "colour";
  colour.style.background = chosen.colour;
  control.append(colour, chosen.name);
  control.onclick = () => take(chosen, control);
  return control;
};
const colourPicker = () => {
  const control = document.createElement("label"), input = document.createElement("input");
  const chosen = {name: "colour", colour: "#b0450b", width: 8};
  input.type = "color";
  input.value = chosen.colour;
  input.oninput = input.onclick = () => { chosen.colour = input.value; take(chosen, control); };
  control.append(input, "other");
  return control;
};

// The camera's pictures, cut to the shape of the canvas, one for each translation; drawing goes on with the last one.
const camera = document.createElement("video"), cameraButton = element.querySelector("[data-do=camera]");
camera.muted = camera.playsInline = true;
const stopCamera = () => {
  for (const track of camera.srcObject?.getTracks() ?? []) track.stop();
  camera.srcObject = null;
  press("camera", false);
};
const drawCamera = () => {
  if (!camera.srcObject) return;
  if (!element.isConnected) return stopCamera();
  const scale = Math.min(camera.videoWidth / canvas.width, camera.videoHeight / canvas.height);
  if (scale && !isWaiting) {
    const width = scale * canvas.width, height = scale * canvas.height;
    const left = (camera.videoWidth - width) / 2, top = (camera.videoHeight - height) / 2;
    context.drawImage(camera, left, top, width, height, 0, 0, canvas.width, canvas.height);
    translateSoon();
  }
  requestAnimationFrame(drawCamera);
};
const startCamera = async () => {
  try {
    camera.srcObject = await navigator.mediaDevices.getUserMedia({video: {facingMode: "environment"}});
    await camera.play();
  } catch (error) {
    stopCamera();
    cameraButton.textContent = `No camera: ${error.message}`;
    return;
  }
  cameraButton.textContent = "Camera";
  if (canvas.width !== canvasState.width || canvas.height !== canvasState.height) {
    [canvas.width, canvas.height] = [canvasState.width, canvasState.height];
    undoStack = [];
  } else pushUndo();
  press("camera", true);
  drawCamera();
};
const load = value => {
  canvasState = value;
  stopCamera();
  cameraButton.hidden = !value.free || !navigator.mediaDevices; // browsers have none on pages without https, but localhost
  const now = JSON.stringify([value.brushes, value.width, value.height]), isFirst = !kind;
  if (now !== kind) {
    const thick = Math.max(1, Math.round(Math.max(value.width, value.height) / 128));
    brushList.replaceChildren(...value.brushes.map(({name, colour}) =>
      button({name, colour, width: value.paints ? 6 * thick : name === "eraser" ? 8 * thick : thick})));
    if (value.free) brushList.append(colourPicker());
    isRectangle = value.paints;
    press("rectangle", isRectangle);
    const window = value.brushes.findIndex(({name}) => name === "window"); // of a facade, what is drawn first
    brushList.children[Math.max(window, 0)].click();
    show(value.picture || value.start, isFirst); // the page arrives with the example's translation
  } else if (value.picture) show(value.picture);
  else translateSoon(); // a model with the same brushes keeps the drawing
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
  context.putImageData(undoStack.at(-1), 0, 0);
  const left = Math.floor(Math.min(fromX, toX)), top = Math.floor(Math.min(fromY, toY));
  context.fillRect(left, top, Math.ceil(Math.max(fromX, toX)) - left, Math.ceil(Math.max(fromY, toY)) - top);
};

canvas.onpointerdown = event => {
  if (event.button) return;
  event.preventDefault();
  stopCamera();
  canvas.setPointerCapture(event.pointerId);
  pushUndo();
  context.fillStyle = brush.colour;
  last = place(event);
  isRectangle ? rectangle(last, last) : stamp(...last);
  translateSoon();
};
canvas.onpointermove = event => {
  if (!last) return;
  translateSoon();
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
    const picture = undoStack.pop();
    if (picture) context.putImageData(picture, 0, 0);
    translateSoon();
  },
  clear: () => {
    pushUndo();
    fill(canvasState.paints ? canvasState.brushes[0].colour : "#ffffff");
    translateSoon();
  },
  example: () => show(canvasState.start),
  upload: () => file.click(),
  camera: isOn => isOn || startCamera(),
};
const file = element.querySelector("input[type=file]");
const send = sent => {
  drawing.uploadedFile = sent;
  file.value = ""; // so that the same file can be chosen again
  trigger("upload");
};
file.onchange = () => {
  const [chosen] = file.files, reader = new FileReader();
  if (!chosen) return;
  if (chosen.size > canvasState.maxBytes) return send(`bytes:${chosen.size}`);
  reader.onload = () => send(reader.result);
  reader.readAsDataURL(chosen);
};
for (const control of element.querySelectorAll("[data-do]")) 
  control.onclick = () => {
    const isOn = Boolean(camera.srcObject);
    stopCamera();
    actions[control.dataset.do](isOn);
  };
watch("value", () => props.value && load(props.value));
load(props.value);
