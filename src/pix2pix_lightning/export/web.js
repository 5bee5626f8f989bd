// The canvas and the results are those of the demo; here this script takes the part of the demo's server.
import {mountCanvas, mountResults} from "./parts.js";

const page = await (await fetch("page.json")).json();
const drawing = document.querySelector("#drawing"), results = document.querySelector("#results");
const button = document.querySelector("#translate"), status = document.querySelector("#status");
const progress = document.querySelector("progress");
const showStatus = text => { status.textContent = text; };
const nextPaint = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));
const colours = page.canvas.brushes.map(({colour}) => [1, 3, 5].map(at => parseInt(colour.slice(at, at + 2), 16)));
const isNumbers = page.source.kind === "numbers";

const mountPart = (mount, element, value, trigger) => {
  const props = {value};
  let changed;
  mount(element, props, (_, called) => { changed = called; }, trigger);
  return next => { props.value = next; changed(); };
};
const setCanvas = mountPart(mountCanvas, drawing, page.canvas, async () => {
  try {
    setCanvas({...page.canvas, picture: await decodeUpload(drawing.uploadedFile)});
  } catch (error) {
    showStatus(error.message);
  }
});
const setResults = mountPart(mountResults, results, []);

const blank = (width, height) => {
  const result = document.createElement("canvas");
  [result.width, result.height] = [width, height];
  return [result, result.getContext("2d", {alpha: false, willReadFrequently: true})];
};
const isTransparent = picture => {
  const whole = document.createElement("canvas"), context = whole.getContext("2d", {willReadFrequently: true});
  [whole.width, whole.height] = [picture.naturalWidth, picture.naturalHeight];
  context.drawImage(picture, 0, 0);
  const {data} = context.getImageData(0, 0, whole.width, whole.height);
  for (let at = 3; at < data.length; at += 4) if (data[at] < 255) return true;
  return false;
};
const decodeUpload = async sent => {
  if (sent.startsWith("bytes:"))
    throw new Error(`The file is larger than ${page.canvas.maxBytes / 2 ** 20} MB: reduce it.`);
  const picture = new Image();
  picture.src = sent;
  await picture.decode().catch(() => { throw new Error("The file is no picture that this browser can read."); });
  if (page.source.alpha === "error" && isTransparent(picture))
    throw new Error("The file has transparent pixels (alpha), which the model does not take: save it without alpha.");
  const [result, context] = blank(page.canvas.width, page.canvas.height);
  context.imageSmoothingEnabled = page.source.interpolation !== "nearest";
  context.imageSmoothingQuality = "high";
  context.fillStyle = `rgb(${page.source.background})`; // behind transparent pixels
  context.fillRect(0, 0, result.width, result.height);
  context.drawImage(picture, 0, 0, result.width, result.height);
  if (isNumbers) colour(context, result);
  return result.toDataURL();
};
const colour = (context, {width, height}) => { // show a file of class numbers in the colours of its brushes
  const image = context.getImageData(0, 0, width, height), {data} = image;
  for (let at = 0; at < data.length; at += 4) {
    if (data[at] !== data[at + 1] || data[at] !== data[at + 2] || data[at] >= colours.length)
      throw new Error(`The file holds no class numbers from 0 to ${colours.length - 1}.`);
    data.set(colours[data[at]], at);
  }
  context.putImageData(image, 0, 0);
};

const toChannel = { // from a pixel to the one channel that the model takes
  grayscale: (red, green, blue) => Math.round(.299 * red + .587 * green + .114 * blue),
  numbers: (...pixel) => {
    const far = colours.map(other => other.reduce((sum, value, at) => sum + (value - pixel[at]) ** 2, 0));
    return far.indexOf(Math.min(...far));
  },
}[page.source.kind];
const toPlanes = ({data, width, height}) => { // RGBA to (1, C, H, W)
  const area = width * height, result = new Uint8Array(area * page.source.channels);
  for (let at = 0; at < area; at++) {
    const pixel = data.subarray(4 * at, 4 * at + 3);
    if (toChannel) result[at] = toChannel(...pixel);
    else for (let channel = 0; channel < 3; channel++) result[channel * area + at] = pixel[channel];
  }
  return result;
};
const toPng = (values, scale = 1) => { // (1, C, H, W) to a PNG
  const {width, height} = page.canvas, area = width * height;
  const [result, context] = blank(width, height), image = context.createImageData(width, height);
  for (let at = 0; at < area; at++) {
    for (let channel = 0; channel < 3; channel++)
      image.data[4 * at + channel] = scale * values[page.target.channels === 3 ? channel * area + at : at];
    image.data[4 * at + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return result.toDataURL();
};

const fetchModel = async () => {
  const response = await fetch("model.onnx");
  if (!response.ok) throw new Error(`The server answers ${response.status} to model.onnx.`);
  const bytes = new Uint8Array(page.bytes), reader = response.body.getReader();
  let count = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    if (count + part.value.length > bytes.length) break;
    bytes.set(part.value, count);
    count += part.value.length;
    progress.value = count / bytes.length;
    showStatus(`Loading the model: ${(count / 1e6).toFixed(0)} of ${(bytes.length / 1e6).toFixed(0)} MB`);
  }
  if (count !== bytes.length) throw new Error("The model did not arrive completely: load the page again.");
  return bytes;
};
const start = async () => {
  const [runtime, bytes] = await Promise.all([import(page.runtime.script), fetchModel()]);
  showStatus("Starting the model");
  await nextPaint();
  runtime.env.wasm.numThreads = 1; // more threads need headers that plain file servers do not send
  // set, since from another host it would also load a script next to the binary
  runtime.env.wasm.wasmPaths = {wasm: new URL(page.runtime.binary, document.baseURI).href};
  const session = await runtime.InferenceSession.create(bytes, {executionProviders: ["wasm"]});
  progress.hidden = true;
  showStatus("Ready");
  button.onclick = async () => {
    button.disabled = true;
    showStatus("Translating");
    await nextPaint();
    try {
      const canvas = drawing.querySelector("canvas"), {width, height} = page.canvas, from = performance.now();
      const image = canvas.getContext("2d").getImageData(0, 0, width, height);
      const source = new runtime.Tensor("uint8", toPlanes(image), [1, page.source.channels, height, width]);
      const {data} = (await session.run({source})).target;
      const shown = page.target.spread === 1 ? null : toPng(data, page.target.spread);
      setResults([{name: "translation.png", file: toPng(data), shown, caption: ""}]);
      showStatus(`Translated in ${((performance.now() - from) / 1000).toFixed(1)} seconds`);
    } catch (error) {
      showStatus(`The model did not run: ${error.message}`);
    }
    button.disabled = false;
  };
  button.disabled = false;
};
start().catch(error => showStatus(`The model was not loaded. ${error.message}`));
