// Draws the figures of a notebook's page, and draws them again when the reader changes the theme.
(() => {
  "use strict";
  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");

  function theme() {
    const chosen = document.body.dataset.theme;
    return chosen === "dark" || (chosen !== "light" && prefersDark.matches) ? "dark" : "light";
  }

  function layout(figure) {
    const clear = { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)" };
    return { ...structuredClone(figure.layout), ...clear, template: window.cmonlabTemplates[theme()], autosize: true };
  }

  const scripts = document.querySelectorAll(".plot > script[type='application/json']");
  const figures = [...scripts].map((script) => ({ place: script.parentElement, ...JSON.parse(script.textContent) }));
  const config = { responsive: true, displaylogo: false };
  const draw = () => figures.forEach((one) => Plotly.react(one.place, one.data, layout(one), config));

  draw();
  prefersDark.addEventListener("change", draw);
  new MutationObserver(draw).observe(document.body, { attributeFilter: ["data-theme"] });
})();
