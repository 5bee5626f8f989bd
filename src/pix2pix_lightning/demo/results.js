// Pictures arrive as data URLs, so that the server stores none. Each links to the file that `predict` would write.
const pictures = element.querySelector(".pictures");
const buildFigure = () => {
  const box = document.createElement("figure"), picture = document.createElement("img");
  const line = document.createElement("figcaption"), caption = document.createElement("span");
  const link = document.createElement("a");
  link.textContent = "Download PNG";
  line.append(caption, link);
  box.append(picture, line);
  return box;
};
const fillFigure = (box, {name, file, shown, caption}) => {
  const picture = box.querySelector("img"), link = box.querySelector("a");
  picture.alt = ["translation", caption].filter(Boolean).join(", ");
  picture.src = shown || file;
  picture.className = shown ? "classes" : "";
  link.download = name;
  link.href = file;
  box.querySelector("span").textContent = caption;
};
const render = results => {
  while (pictures.children.length > results.length) pictures.lastElementChild.remove();
  while (pictures.children.length < results.length) pictures.append(buildFigure());
  results.forEach((result, number) => fillFigure(pictures.children[number], result)); // in place, without a flash
  pictures.classList.toggle("many", results.length > 1);
  element.querySelector(".none").hidden = results.length > 0;
};
watch("value", () => render(props.value || []));
render(props.value || []);
