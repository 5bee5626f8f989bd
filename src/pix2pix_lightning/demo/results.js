// Pictures come as data, so that the server keeps none; each has a link to the file as `predict` would write it.
const pictures = element.querySelector(".pictures");
const figure = ({name, file, shown, caption}) => {
  const made = document.createElement("figure"), picture = document.createElement("img");
  const line = document.createElement("figcaption"), link = document.createElement("a");
  picture.alt = ["translation", caption].filter(Boolean).join(", ");
  picture.src = shown || file;
  picture.className = shown ? "classes" : "";
  link.download = name;
  link.href = file;
  link.textContent = "Download PNG";
  line.append(caption, link);
  made.append(picture, line);
  return made;
};
watch("value", () => {
  const made = (props.value || []).map(figure);
  pictures.replaceChildren(...made);
  pictures.classList.toggle("many", made.length > 1);
  element.querySelector(".none").hidden = made.length > 0;
});
