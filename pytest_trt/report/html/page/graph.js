"use strict";
// The buttons above a graph change its size. A press on a layer ends a search that may hide its row.
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
    graph.querySelectorAll("a").forEach((layer) => layer.addEventListener("click", () => {
      const search = document.getElementById("search");
      search.value = "";
      search.dispatchEvent(new Event("input", { bubbles: true }));
    }));
  });
})();
