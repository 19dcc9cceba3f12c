// What every part of the page shares: the language, and short ways to the document.
import { WORDS } from "./words.js";

export const $ = (selector, root = document) => root.querySelector(selector);
export const page = { language: firstLanguage(), models: [], corrections: false };
export const words = () => WORDS[page.language];

function firstLanguage() {
  let kept = null;
  try { kept = localStorage.getItem("language"); } catch { /* storage may be off */ }
  const wished = kept ?? navigator.languages?.[0] ?? navigator.language ?? "en";
  return wished.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export function speak(language) {
  page.language = language;
  try { localStorage.setItem("language", language); } catch { /* storage may be off */ }
}

export const number = (value, digits = 0) =>
  new Intl.NumberFormat(page.language, {
    minimumFractionDigits: digits, maximumFractionDigits: digits,
  }).format(value);

export const percent = (share) =>
  new Intl.NumberFormat(page.language, {
    style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1,
  }).format(share);

export function translate(root) {
  for (const node of root.querySelectorAll("[data-word]")) {
    node.textContent = words()[node.dataset.word];
  }
  for (const node of root.querySelectorAll("[data-label]")) {
    node.setAttribute("aria-label", words()[node.dataset.label]);
  }
}

export function copyOf(template) {
  return $(`#${template}`).content.firstElementChild.cloneNode(true);
}

export function element(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

export const shortVersion = (version) => (version.length > 12 ? version.slice(0, 8) : version);

export function announce(text) { $("#live").textContent = text; }

export function problemWords(problem) {
  if (problem.offline) return [words().offline, words().offlineHint];
  const slug = String(problem.type ?? "").split(":").pop();
  return words().problems[slug] ?? [problem.title ?? "", problem.detail ?? ""];
}
