"use strict";
// The buttons above a graph change its size.
(() => {
  document.querySelectorAll(".graph").forEach((graph) => {
    const image = graph.querySelector("svg");
    const [width, height] = ["width", "height"].map((name) => Number(image.getAttribute(name)));
    let scale = 1;
    graph.querySelectorAll("button").forEach((button) => button.addEventListener("click", () => {
      const fit = graph.querySelector(".canvas").clientWidth / width;
      scale = { fit, larger: scale * 1.25, smaller: scale / 1.25 }[button.name];
      image.setAttribute("width", width * scale);
      image.setAttribute("height", height * scale);
    }));
  });
})();
