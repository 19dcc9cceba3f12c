// The page's frame: language, key, views, and the ways pictures come in.
import { call, hasKey, useKey } from "./api.js";
import { add, clearAll, showCards } from "./cards.js";
import { $, element, page, speak, translate, words } from "./page.js";
import { showService, watchService } from "./service.js";

function showLanguage() {
  document.documentElement.lang = page.language === "zh" ? "zh-CN" : "en";
  translate(document);
  const toggle = $("#language");
  toggle.textContent = words().other;
  toggle.lang = words().otherLang;
  showKey();
  showAbout();
  showCards();
  showService();
}

function showAbout() {
  const model = page.models.length === 1 ? page.models[0] : null;
  $("#about").textContent = model ? words().about(model.name, model.classes.length) : "";
}

const chosen = () => [...document.querySelectorAll("#models input:checked")].map((box) => box.value);

async function loadModels() {
  const before = new Set(chosen());
  let status = 0;
  try {
    const response = await call("v1/models");
    status = response.status;
    page.models = response.ok ? (await response.json()).models : [];
  } catch {
    page.models = [];
  }
  const boxes = page.models.map((model, index) => {
    const box = element("input", "", { type: "checkbox", value: model.name });
    box.checked = before.size ? before.has(model.name) : index === 0;
    const label = element("label");
    label.append(box, element("span", model.name));
    return label;
  });
  $("#models").replaceChildren(...boxes);
  $("#model-row").hidden = page.models.length < 2;
  $("#need-key").hidden = ![401, 403].includes(status);
  showAbout();
}

async function learnWhatIsTaken() {
  try {
    page.corrections = (await call("v1/feedback", { method: "OPTIONS" })).ok;
  } catch {
    page.corrections = false;
  }
  $("#private").dataset.word = page.corrections ? "privateButCorrections" : "private";
  translate($("footer"));
  showCards();
}

// --- views ------------------------------------------------------------------------------------

const tabs = [...document.querySelectorAll("[role=tab]")];

function open(tab, focus = false) {
  for (const other of tabs) {
    const on = other === tab;
    other.setAttribute("aria-selected", String(on));
    other.tabIndex = on ? 0 : -1;
    $(`#${other.getAttribute("aria-controls")}`).hidden = !on;
  }
  if (focus) tab.focus();
  watchService(tab.id === "tab-service");
}

for (const tab of tabs) {
  tab.addEventListener("click", () => open(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    open(tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length], true);
  });
}

// --- the key ----------------------------------------------------------------------------------

function showKey() {
  $("#key").textContent = hasKey() ? words().keySet : words().key;
  $("#key-forget").hidden = !hasKey();
}

async function keyChanged(text) {
  useKey(text);
  $("#key-input").value = "";
  $("#key-dialog").close();
  showKey();
  await Promise.all([loadModels(), learnWhatIsTaken()]);
}

$("#key").addEventListener("click", () => { $("#key-dialog").showModal(); $("#key-input").focus(); });
$("#key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keyChanged($("#key-input").value);
});
$("#key-forget").addEventListener("click", () => keyChanged(""));

// --- ways in ----------------------------------------------------------------------------------

const take = (files) => {
  open($("#tab-try"));
  add(files, chosen());
};

$("#pick").addEventListener("change", (event) => {
  take(event.target.files);
  event.target.value = "";
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData?.files.length) take(event.clipboardData.files);
});
let inside = 0;
const over = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragenter", (event) => {
  if (!over(event)) return;
  inside += 1;
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", () => {
  inside = Math.max(0, inside - 1);
  if (!inside) document.body.classList.remove("dragging");
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  inside = 0;
  document.body.classList.remove("dragging");
  if (event.dataTransfer?.files.length) take(event.dataTransfer.files);
});
$("#clear").addEventListener("click", clearAll);
$("#language").addEventListener("click", () => {
  speak(words().otherLang);
  showLanguage();
});

showLanguage();
loadModels();
learnWhatIsTaken();
