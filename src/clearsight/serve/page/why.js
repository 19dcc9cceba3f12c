// Why a picture got its label: the map over the picture, and whether it is true.
import { call } from "./api.js";
import { $, announce, page, problemWords, words } from "./page.js";

export function watchWhy(ask) {
  const box = $(".why", ask.column);
  box.addEventListener("toggle", () => {
    if (box.open && !ask.why && !ask.whyAsked) explain(ask);
    showWhy(ask);
  });
  $(".opacity", box).addEventListener("input", (event) => {
    $(".heat", ask.item.card).style.opacity = event.target.value / 100;
  });
}

async function explain(ask) {
  ask.whyAsked = true;
  const query = new URLSearchParams();
  if (page.models.length > 1 && ask.model) query.set("model", ask.model);
  query.set("version", ask.answer.version);
  try {
    const response = await call(`v1/explain?${query}`, { method: "POST", body: ask.item.file });
    const value = await response.json();
    ask.why = response.ok ? value.explanation : { problem: value };
  } catch {
    ask.why = { problem: { offline: true } };
  }
  if (ask.item.gone) return;
  showWhy(ask);
  announce($(".why-verdict", ask.column).textContent);
}

export function showWhy(ask) {
  const box = $(".why", ask.column);
  const heat = $(".heat", ask.item.card);
  const told = ask.why;
  $(".why-waiting", box).hidden = Boolean(told);
  $(".why-told", box).hidden = !told;
  heat.hidden = !box.open || !told || Boolean(told.problem);
  if (!told) return;
  const verdict = $(".why-verdict", box);
  $("label", box).hidden = Boolean(told.problem);
  verdict.classList.toggle("doubtful", Boolean(told.problem) || !told.faithful);
  if (told.problem) {
    verdict.textContent = problemWords(told.problem).join(". ");
    $(".why-scores", box).textContent = "";
    return;
  }
  verdict.textContent = told.faithful ? words().faithful : words().notFaithful;
  $(".why-scores", box).textContent = words().whyScores(told);
  heat.src = `data:image/png;base64,${told.map}`;
  heat.style.opacity = $(".opacity", box).value / 100;
}
