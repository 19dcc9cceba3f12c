// One card a picture, one column a model. Data reaches the document as text only, never as markup.
import { call, hasKey } from "./api.js";
import { showWhy, watchWhy } from "./why.js";
import {
  $, announce, copyOf, number, page, percent, problemWords, shortVersion, translate, words,
} from "./page.js";

const TOP = 5;
const NAMED = 12;
const AT_ONCE = 2;
const ATTEMPTS = 5;
const state = { items: [], running: 0 };

export function add(files, models) {
  const pictures = [...files];
  if (!pictures.length) return;
  showResults(true);
  const cards = [];
  for (const file of pictures) {
    const item = { file, name: file.name || "picture" };
    const asked = models.length ? models : [null];
    item.asks = asked.map((model) => ({ item, model, phase: "waiting" }));
    cards.push(makeCard(item));
    state.items.push(item);
    item.asks.forEach(show);
  }
  $("#cards").prepend(...cards);
  work();
}

export function clearAll() { [...state.items].forEach(remove); }

export function showCards() {
  for (const item of state.items) {
    nameCard(item);
    item.asks.forEach(show);
  }
}

function showResults(any) {
  $("#results").hidden = !any;
  document.body.classList.toggle("has-results", any);
}

function makeCard(item) {
  const card = copyOf("card");
  item.card = card;
  item.url = URL.createObjectURL(item.file);
  const image = $(".shown", card);
  image.addEventListener("error", () => {
    image.hidden = true;
    $(".no-preview", card).hidden = false;
  });
  image.src = item.url;
  $("h3", card).textContent = item.name;
  $("h3", card).title = item.name;
  $(".remove", card).addEventListener("click", () => remove(item));
  $(".asks", card).append(...item.asks.map(makeColumn));
  card.classList.toggle("side-by-side", item.asks.length > 1);
  nameCard(item);
  return card;
}

function nameCard(item) {
  translate(item.card);
  $(".shown", item.card).alt = words().picture(item.name);
  $(".remove", item.card).setAttribute("aria-label", words().remove(item.name));
}

function makeColumn(ask) {
  ask.column = copyOf("ask");
  for (const button of ask.column.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", () => copy(button, code(ask)[button.dataset.copy]));
  }
  watchWhy(ask);
  $(".correct", ask.column).addEventListener("submit", (event) => {
    event.preventDefault();
    correct(ask);
  });
  return ask.column;
}

function remove(item) {
  item.gone = true;
  for (const ask of item.asks) ask.abort?.abort();
  URL.revokeObjectURL(item.url);
  item.card.remove();
  state.items = state.items.filter((other) => other !== item);
  showResults(state.items.length > 0);
  ($("#cards .remove") ?? $("#pick")).focus();
}

function show(ask) {
  const { column, item } = ask;
  translate(column);
  column.dataset.phase = ask.phase;
  column.setAttribute("aria-busy", String(ask.phase === "waiting"));
  const phases = item.asks.map((other) => other.phase);
  item.card.dataset.phase = phases.includes("waiting") ? "waiting"
    : phases.includes("answer") ? "answer" : "problem";
  $(".tag", column).hidden = item.asks.length < 2 && page.models.length < 2;
  $(".tag-name", column).textContent = ask.model ?? "";
  $(".tag-time", column).textContent = ask.phase === "answer"
    ? `${shortVersion(ask.answer.version)} · ${number(ask.ms)} ms` : "";
  $(".waiting", column).hidden = ask.phase !== "waiting";
  if (ask.busy) $(".waiting", column).textContent = words().busy;
  $(".unsure", column).hidden = ask.phase !== "answer" || ask.answer.accepted;
  $(".problem", column).hidden = ask.phase !== "problem";
  $(".from-code", column).hidden = ask.phase !== "answer";
  $(".why", column).hidden = ask.phase !== "answer";
  if (ask.why) showWhy(ask);
  $(".wrong", column).hidden = ask.phase !== "answer" || !page.corrections;
  if (ask.phase === "problem") showProblem(ask);
  if (ask.phase === "answer") showAnswer(ask);
}

function showAnswer(ask) {
  ask.column.classList.toggle("is-unsure", !ask.answer.accepted);
  const rows = ask.answer.predictions.map(({ label, score }) => {
    const row = copyOf("label");
    $(".name", row).textContent = label;
    $(".name", row).title = label;
    $(".share", row).textContent = percent(score);
    $(".bar", row).style.width = `${Math.max(0.5, score * 100)}%`;
    return row;
  });
  $(".labels", ask.column).replaceChildren(...rows);
  showSet(ask);
  for (const [kind, text] of Object.entries(code(ask))) {
    $(`[data-code="${kind}"]`, ask.column).textContent = text;
  }
}

// The conformal set: every class that the picture may well show, however many they are.
function showSet(ask) {
  const box = $(".likely", ask.column);
  const set = ask.answer.set;
  box.hidden = !set;
  if (!set) return;
  box.title = words().likelyHint;
  $(".likely-words", box).textContent = words().likely(set.length);
  const names = set.slice(0, NAMED).map((label) => {
    const name = document.createElement("bdi");
    name.textContent = label;
    return name;
  });
  if (set.length > NAMED) names.push(words().andMore(set.length - NAMED));
  $(".likely-names", box).replaceChildren(...names);
}

function showProblem(ask) {
  const [title, detail] = problemWords(ask.problem);
  const box = $(".problem", ask.column);
  $("strong", box).textContent = title;
  $("p", box).textContent = detail;
  $("small", box).textContent = ask.problem.id ? `${words().request} ${ask.problem.id}` : "";
}

function said(ask) {
  const w = words();
  const name = ask.item.asks.length > 1 ? `${ask.item.name}, ${ask.model}` : ask.item.name;
  if (ask.phase === "problem") return w.saidProblem(name, problemWords(ask.problem)[0]);
  const [best] = ask.answer.predictions;
  return ask.answer.accepted ? w.said(name, best.label, percent(best.score)) : w.saidUnsure(name);
}

// --- the work: a few requests at once, in the order they came ---------------------------------

function work() {
  while (state.running < AT_ONCE) {
    const next = state.items.flatMap((item) => item.asks)
      .find((ask) => ask.phase === "waiting" && !ask.abort);
    if (!next) return;
    next.abort = new AbortController();
    state.running += 1;
    recognize(next).finally(() => { state.running -= 1; work(); });
  }
}

const target = (ask) => {
  const query = new URLSearchParams({ top: TOP });
  if (page.models.length > 1 && ask.model) query.set("model", ask.model);
  return new URL(`v1/recognize?${query}`, document.baseURI).href;
};

async function recognize(ask) {
  try {
    const response = await send(ask);
    const value = await response.json();
    ask.phase = response.ok ? "answer" : "problem";
    ask[ask.phase] = value;
  } catch {
    ask.phase = "problem";
    ask.problem = { offline: true };
  }
  ask.busy = false;
  if (ask.item.gone) return;
  show(ask);
  announce(said(ask));
}

async function send(ask) {
  for (let attempt = 1; ; attempt += 1) {
    const began = performance.now();
    const response = await call(target(ask), {
      method: "POST", body: ask.item.file, signal: ask.abort.signal,
    });
    ask.ms = performance.now() - began;
    if (![429, 503].includes(response.status) || attempt === ATTEMPTS) return response;
    ask.busy = true;
    show(ask);
    const seconds = Math.min(10, Number(response.headers.get("retry-after")) || 1);
    await new Promise((done) => setTimeout(done, seconds * 1000));
  }
}

// --- corrections ------------------------------------------------------------------------------

async function correct(ask) {
  const told = $(".corrected", ask.column);
  const value = { label: $(".right-label", ask.column).value.trim(), request: ask.answer.id };
  try {
    if ($(".with-picture", ask.column).checked) value.image = await base64(ask.item.file);
    const response = await call("v1/feedback", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(value),
    });
    told.textContent = response.ok ? words().thanks : problemWords(await response.json())[0];
  } catch {
    told.textContent = words().offline;
  }
}

function base64(file) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(String(reader.result).split(",")[1] ?? "");
    reader.onerror = failed;
    reader.readAsDataURL(file);
  });
}

// --- the same request from code ---------------------------------------------------------------

const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function code(ask) {
  const url = target(ask);
  const type = ask.item.file.type || "application/octet-stream";
  const keyed = hasKey();  // the key itself is never shown
  return {
    curl: `curl ${shell(url)} \\\n  -H ${shell(`Content-Type: ${type}`)} \\\n`
      + (keyed ? "  -H \"Authorization: Bearer $CLEARSIGHT_KEY\" \\\n" : "")
      + `  --data-binary ${shell(`@${ask.item.name}`)}`,
    python: `import json
${keyed ? "import os\n" : ""}from pathlib import Path
from urllib.request import Request, urlopen

url = ${JSON.stringify(url)}
picture = Path(${JSON.stringify(ask.item.name)}).read_bytes()
headers = {"Content-Type": ${JSON.stringify(type)}}
${keyed ? 'headers["Authorization"] = "Bearer " + os.environ["CLEARSIGHT_KEY"]\n' : ""}answer = json.load(urlopen(Request(url, picture, headers)))
for found in answer["predictions"]:
    print(f'{found["label"]}: {found["score"]:.1%}')`,
  };
}

async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = words().copied;
  } catch {
    getSelection().selectAllChildren($("code", button.closest(".code")));
    button.textContent = words().notCopied;
  }
  announce(button.textContent);
  setTimeout(() => { button.textContent = words().copy; }, 2000);
}

