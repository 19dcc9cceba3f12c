// The page: pictures in, labels out. Data reaches the document as text only, never as markup.
import { WORDS } from "./words.js";

const TOP = 5;
const AT_ONCE = 2;
const ATTEMPTS = 5;
const $ = (selector, root = document) => root.querySelector(selector);
const state = { language: firstLanguage(), models: [], items: [], running: 0 };

function firstLanguage() {
  let kept = null;
  try { kept = localStorage.getItem("language"); } catch { /* storage may be off */ }
  const wished = kept ?? navigator.languages?.[0] ?? navigator.language ?? "en";
  return wished.toLowerCase().startsWith("zh") ? "zh" : "en";
}

const words = () => WORDS[state.language];
const percent = (share) =>
  new Intl.NumberFormat(state.language, {
    style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1,
  }).format(share);

function translate(root) {
  for (const node of root.querySelectorAll("[data-word]")) {
    node.textContent = words()[node.dataset.word];
  }
}

function showLanguage() {
  document.documentElement.lang = state.language === "zh" ? "zh-CN" : "en";
  translate(document);
  const toggle = $("#language");
  toggle.textContent = words().other;
  toggle.lang = words().otherLang;
  showAbout();
  state.items.forEach(show);
}

function showAbout() {
  const model = state.models.find((m) => m.name === chosenModel());
  $("#about").textContent = model ? words().about(model.name, model.classes.length) : "";
}

const chosenModel = () => (state.models.length ? $("#model").value : null);

async function loadModels() {
  try {
    state.models = (await (await fetch("v1/models")).json()).models;
  } catch {
    state.models = [];
  }
  for (const model of state.models) $("#model").append(new Option(model.name, model.name));
  $("#model-row").hidden = state.models.length < 2;
  showAbout();
}

// --- one item: a picture, its card, and what became of it -------------------------------------

function add(files) {
  const pictures = [...files];
  if (!pictures.length) return;
  showResults(true);
  for (const file of pictures) {
    const item = { file, name: file.name || "picture", model: chosenModel(), phase: "waiting" };
    item.card = makeCard(item);
    state.items.push(item);
    show(item);
  }
  $("#cards").prepend(...state.items.slice(-pictures.length).map((item) => item.card));
  work();
}

function showResults(any) {
  $("#results").hidden = !any;
  document.body.classList.toggle("has-results", any);
}

function makeCard(item) {
  const card = $("#card").content.firstElementChild.cloneNode(true);
  const image = $("img", card);
  item.url = URL.createObjectURL(item.file);
  image.addEventListener("error", () => {
    image.hidden = true;
    $(".no-preview", card).hidden = false;
  });
  image.src = item.url;
  $("h3", card).textContent = item.name;
  $("h3", card).title = item.name;
  $(".tag", card).textContent = item.model ?? "";
  $(".tag", card).hidden = state.models.length < 2;
  $(".remove", card).addEventListener("click", () => remove(item));
  for (const button of card.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", () => copy(button, code(item)[button.dataset.copy]));
  }
  return card;
}

function remove(item) {
  item.gone = true;
  item.abort?.abort();
  URL.revokeObjectURL(item.url);
  item.card.remove();
  state.items = state.items.filter((other) => other !== item);
  showResults(state.items.length > 0);
  ($("#cards .remove") ?? $("#pick")).focus();
}

function show(item) {
  const { card } = item;
  translate(card);
  $("img", card).alt = words().picture(item.name);
  $(".remove", card).setAttribute("aria-label", words().remove(item.name));
  card.dataset.phase = item.phase;
  card.setAttribute("aria-busy", String(item.phase === "waiting"));
  $(".waiting", card).hidden = item.phase !== "waiting";
  if (item.busy) $(".waiting", card).textContent = words().busy;
  $(".unsure", card).hidden = item.phase !== "answer" || item.answer.accepted;
  $(".problem", card).hidden = item.phase !== "problem";
  $("details", card).hidden = item.phase !== "answer";
  if (item.phase === "problem") showProblem(item);
  if (item.phase === "answer") showAnswer(item);
}

function showAnswer(item) {
  item.card.classList.toggle("is-unsure", !item.answer.accepted);
  const rows = item.answer.predictions.map(({ label, score }) => {
    const row = $("#label").content.firstElementChild.cloneNode(true);
    $(".name", row).textContent = label;
    $(".name", row).title = label;
    $(".share", row).textContent = percent(score);
    $(".bar", row).style.width = `${Math.max(0.5, score * 100)}%`;
    return row;
  });
  $(".labels", item.card).replaceChildren(...rows);
  for (const [kind, text] of Object.entries(code(item))) {
    $(`[data-code="${kind}"]`, item.card).textContent = text;
  }
}

function showProblem(item) {
  const [title, detail] = problemWords(item.problem);
  const box = $(".problem", item.card);
  $("strong", box).textContent = title;
  $("p", box).textContent = detail;
  $("small", box).textContent = item.problem.id ? `${words().request} ${item.problem.id}` : "";
}

function problemWords(problem) {
  if (problem.offline) return [words().offline, words().offlineHint];
  const slug = String(problem.type ?? "").split(":").pop();
  return words().problems[slug] ?? [problem.title ?? "", problem.detail ?? ""];
}

function announce(item) {
  const w = words();
  const best = item.answer?.predictions[0];
  $("#live").textContent =
    item.phase === "problem" ? w.saidProblem(item.name, problemWords(item.problem)[0])
    : item.answer.accepted ? w.said(item.name, best.label, percent(best.score))
    : w.saidUnsure(item.name);
}

// --- the work: a few requests at once, in the order they came ---------------------------------

function work() {
  while (state.running < AT_ONCE) {
    const item = state.items.find((other) => other.phase === "waiting" && !other.abort);
    if (!item) return;
    item.abort = new AbortController();
    state.running += 1;
    recognize(item).finally(() => { state.running -= 1; work(); });
  }
}

const target = (item) => {
  const query = new URLSearchParams({ top: TOP });
  if (state.models.length > 1 && item.model) query.set("model", item.model);
  return new URL(`v1/recognize?${query}`, document.baseURI).href;
};

async function recognize(item) {
  try {
    const response = await ask(item);
    const value = await response.json();
    item.phase = response.ok ? "answer" : "problem";
    item[item.phase] = value;
  } catch {
    item.phase = "problem";
    item.problem = { offline: true };
  }
  item.busy = false;
  if (item.gone) return;
  show(item);
  announce(item);
}

async function ask(item) {
  for (let attempt = 1; ; attempt += 1) {
    const response = await fetch(target(item), {
      method: "POST", body: item.file, signal: item.abort.signal,
    });
    if (response.status !== 503 || attempt === ATTEMPTS) return response;
    item.busy = true;
    show(item);
    const seconds = Number(response.headers.get("retry-after")) || 1;
    await new Promise((done) => setTimeout(done, seconds * 1000));
  }
}

// --- the same request from code ---------------------------------------------------------------

const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function code(item) {
  const url = target(item);
  const type = item.file.type || "application/octet-stream";
  return {
    curl: `curl ${shell(url)} \\\n  -H ${shell(`Content-Type: ${type}`)} \\\n`
      + `  --data-binary ${shell(`@${item.name}`)}`,
    python: `import json
from pathlib import Path
from urllib.request import Request, urlopen

url = ${JSON.stringify(url)}
picture = Path(${JSON.stringify(item.name)}).read_bytes()
headers = {"Content-Type": ${JSON.stringify(type)}}
answer = json.load(urlopen(Request(url, picture, headers)))
for found in answer["predictions"]:
    print(f'{found["label"]}: {found["score"]:.1%}')`,
  };
}

async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = words().copied;
  } catch {
    const selection = getSelection();
    selection.selectAllChildren($("code", button.closest(".code")));
    button.textContent = words().notCopied;
  }
  $("#live").textContent = button.textContent;
  setTimeout(() => { button.textContent = words().copy; }, 2000);
}

// --- ways in ----------------------------------------------------------------------------------

$("#pick").addEventListener("change", (event) => {
  add(event.target.files);
  event.target.value = "";
});
document.addEventListener("paste", (event) => add(event.clipboardData?.files ?? []));
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
  add(event.dataTransfer?.files ?? []);
});
$("#clear").addEventListener("click", () => [...state.items].forEach(remove));
$("#model").addEventListener("change", showAbout);
$("#language").addEventListener("click", () => {
  state.language = words().otherLang;
  try { localStorage.setItem("language", state.language); } catch { /* storage may be off */ }
  showLanguage();
});

showLanguage();
loadModels();
