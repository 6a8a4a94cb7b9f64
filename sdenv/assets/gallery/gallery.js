
const field = document.getElementById("search");
const count = document.getElementById("count");
const figures = [...document.querySelectorAll("figure")];
const texts = figures.map((each) => each.textContent.toLowerCase());
field.hidden = figures.length < 2;
field.addEventListener("input", () => {
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  figures.forEach((each, index) => {
    const fits = words.every((word) => texts[index].includes(word));
    each.hidden = !fits;
    shown += fits;
  });
  count.value = `${shown} of ${figures.length} pictures`;
});
