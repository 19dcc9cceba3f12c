// Why a picture got its label: the map over the picture, and whether it is true.
import { call } from "./api.js";
import { $, announce, element, page, problemWords, words } from "./page.js";

export function watchWhy(ask) {
  const box = $(".why", ask.column);
  box.addEventListener("toggle", () => {
    if (box.open && !ask.whyAsking) offerOthers(ask);
    if (box.open && (!ask.whyAsking || ask.why?.problem)) explain(ask);
    showWhy(ask);
  });
  $(".against", box).addEventListener("change", () => explain(ask));
  $(".opacity", box).addEventListener("input", (event) => {
    $(".heat", ask.item.card).style.opacity = event.target.value / 100;
  });
}

// "Why A and not B": the other classes that the answer names.
function offerOthers(ask) {
  const others = ask.answer.predictions.slice(1);
  const select = $(".against", ask.column);
  for (const { label } of others) select.append(element("option", label, { value: label }));
  $(".why-not", ask.column).hidden = !others.length;
}

async function explain(ask) {
  ask.whyAsking?.abort();  // a later question
  const { signal } = ask.whyAsking = new AbortController();
  ask.why = null;
  showWhy(ask);
  const query = new URLSearchParams();
  const against = $(".against", ask.column).value;
  if (against) query.set("against", against);
  if (page.models.length > 1 && ask.model) query.set("model", ask.model);
  query.set("version", ask.answer.version);
  try {
    const response = await call(`v1/explain?${query}`, {
      method: "POST", body: ask.item.file, signal,
    });
    const value = await response.json();
    ask.why = response.ok ? value.explanation : { problem: value };
  } catch {
    if (!signal.aborted) ask.why = { problem: { offline: true } };
  }
  if (ask.item.gone || signal.aborted) return;
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
  $(".why-opacity", box).hidden = Boolean(told.problem);
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
