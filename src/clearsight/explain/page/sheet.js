const slider = document.querySelector("#opacity");
slider.addEventListener("input", () => {
  document.documentElement.style.setProperty("--opacity", slider.value / 100);
});
