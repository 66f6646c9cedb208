"use strict";
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const specs = JSON.parse(document.getElementById("specs").textContent);
  const color = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const palettes = {
    light: ["#2260c9", "#b3540a", "#1f7a33", "#b3200c", "#7340b8", "#7a4b3f", "#a82f76", "#555555",
      "#00788a", "#807000", "#3d8a00", "#5b6ee1"],
    dark: ["#7db5ff", "#f5a04c", "#7fd48c", "#ff9d8c", "#c3a2f5", "#d2a89c", "#f59ccb", "#c8c8c8",
      "#5fd3e6", "#e0cd4f", "#b6e36b", "#a5b1ff"],
  };

  function config(theme) {
    const text = { labelColor: color("--text"), titleColor: color("--text"), labelFontSize: 12, titleFontSize: 12 };
    return {
      background: null, aria: false, font: "system-ui, sans-serif", view: { stroke: null },
      axis: { ...text, gridColor: color("--line"), domainColor: color("--quiet"), tickColor: color("--quiet"), gridOpacity: 0.6 },
      legend: text, text: { fill: color("--quiet"), fontSize: 11 }, range: { category: palettes[theme] }, autosize: { type: "fit", contains: "padding" },
    };
  }

  async function draw(theme) {
    root.dataset.theme = theme;
    button.textContent = theme === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-pressed", String(theme === "dark"));
    const drawn = [...document.querySelectorAll("[data-chart]")].map((place) =>
      vegaEmbed(place, specs[place.dataset.chart], { renderer: "svg", actions: false, config: config(theme) })
        .catch((error) => { place.textContent = `Not drawn: ${error.message}`; }));
    await Promise.all(drawn);
    // The place has a role and words of its own; Vega's marks inside would only repeat them, unnamed.
    document.querySelectorAll("[data-chart] svg").forEach((svg) => svg.setAttribute("aria-hidden", "true"));
    root.dataset.drawn = theme;
  }

  button.addEventListener("click", () => draw(root.dataset.theme === "dark" ? "light" : "dark"));
  const prefers = matchMedia("(prefers-color-scheme: dark)");
  prefers.addEventListener("change", () => draw(prefers.matches ? "dark" : "light"));
  draw(prefers.matches ? "dark" : "light");
})();
