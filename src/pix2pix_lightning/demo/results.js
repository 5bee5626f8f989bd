// Pictures arrive as data URLs, so that the server stores none. Each links to the file that `predict` would write.
const pictures = element.querySelector(".pictures");
const figure = ({name, file, shown, caption}) => {
  const box = document.createElement("figure"), picture = document.createElement("img");
  const line = document.createElement("figcaption"), link = document.createElement("a");
  picture.alt = ["translation", caption].filter(Boolean).join(", ");
  picture.src = shown || file;
  picture.className = shown ? "classes" : "";
  link.download = name;
  link.href = file;
  link.textContent = "Download PNG";
  line.append(caption, link);
  box.append(picture, line);
  return box;
};
watch("value", () => {
  const figures = (props.value || []).map(figure);
  pictures.replaceChildren(...figures);
  pictures.classList.toggle("many", figures.length > 1);
  element.querySelector(".none").hidden = figures.length > 0;
});
