// The live view: counts that only grow come in every two seconds; rates are their differences.
import { call } from "./api.js";
import { $, element, number, percent, problemWords, shortVersion, words } from "./page.js";

const EVERY_MS = 2000;
const DRIFT_EVERY = 5;  // polls
const KEPT = 61;  // two minutes
const WORDED = 4;  // columns of words, before those of figures
const WIDTH = 300, HEIGHT = 72;
const SVG = "http://www.w3.org/2000/svg";
const state = { watching: false, timer: 0, polls: 0, history: [], points: [], drifts: [], problem: null };

export function watchService(on) {
  if (on === state.watching) return;
  state.watching = on;
  clearTimeout(state.timer);
  if (on) poll();
}

document.addEventListener("visibilitychange", () => {
  if (state.watching && !document.hidden) { clearTimeout(state.timer); poll(); }
});

async function poll() {
  if (!state.watching || document.hidden) return;
  await look();
  showService();
  if (state.watching) state.timer = setTimeout(poll, EVERY_MS);
}

async function look() {
  try {
    const response = await call("v1/stats");
    const value = await response.json();
    state.problem = response.ok ? null : value;
    if (!response.ok) return;
    const last = state.history.at(-1);
    if (last && value.time < last.time) state.history.length = state.points.length = 0;
    state.history = [...state.history, value].slice(-KEPT);
    if (state.history.length > 1) {
      const [before, now] = state.history.slice(-2);
      state.points = [...state.points, figures(before, now)].slice(-KEPT + 1);
    }
    if (state.polls % DRIFT_EVERY === 0) await lookForDrift(value);
    state.polls += 1;
  } catch {
    state.problem = { offline: true };
  }
}

async function lookForDrift(value) {
  const asked = value.models.map(async (model) => {
    const response = await call(`v1/models/${encodeURIComponent(model.name)}/drift`);
    return response.ok ? response.json() : null;
  });
  state.drifts = (await Promise.all(asked)).filter(Boolean);
}

// --- figures ----------------------------------------------------------------------------------

const every = (stats) => stats.models.flatMap((model) => model.versions.map(
  (version) => ({ key: `${model.name} ${version.version}`, ...version.live })));

function figures(before, now, only = () => true) {
  const earlier = new Map(every(before).map((row) => [row.key, row]));
  const seconds = Math.max(0.001, now.time - before.time);
  let answered = 0;
  const buckets = new Array(now.bounds.length + 1).fill(0);
  for (const row of every(now)) {
    if (!only(row.key)) continue;
    const old = earlier.get(row.key);
    answered += row.answered - (old?.answered ?? 0);
    row.buckets.forEach((count, i) => { buckets[i] += count - (old?.buckets[i] ?? 0); });
  }
  return {
    rate: Math.max(0, answered) / seconds,
    median: quantile(now.bounds, buckets, 0.5),
    p95: quantile(now.bounds, buckets, 0.95),
  };
}

// Where in its bucket a quantile lies is not known: a straight line is drawn through the bucket.
function quantile(bounds, buckets, share) {
  const total = buckets.reduce((sum, count) => sum + count, 0);
  if (!total) return null;
  let left = share * total;
  for (let i = 0; i < buckets.length; i += 1) {
    if (left <= buckets[i] && buckets[i] > 0) {
      const from = i ? bounds[i - 1] : 0;
      const to = bounds[i] ?? bounds.at(-1);
      return (from + (to - from) * (left / buckets[i])) * 1000;
    }
    left -= buckets[i];
  }
  return bounds.at(-1) * 1000;
}

// A calm figure over the last ten seconds or so, of everything or of one version.
function lately(only) {
  const now = state.history.at(-1);
  const before = state.history.at(-Math.min(6, state.history.length));
  return now && before !== now ? figures(before, now, only) : null;
}

const milliseconds = (value) => (value === null ? "–" : `${number(value, value < 10 ? 1 : 0)} ms`);
const megabytes = (value) => (value ? `${number(value / 1e6, value < 1e7 ? 1 : 0)} MB` : "–");

// --- what is shown ----------------------------------------------------------------------------

export function showService() {
  const note = $("#service-note");
  note.hidden = !state.problem;
  if (state.problem) note.textContent = problemWords(state.problem).join(" ");
  const now = state.history.at(-1);
  if (!now) return;
  showTiles(now);
  showCharts();
  showRows(now);
  showDrifts();
}

function showTiles(now) {
  const w = words();
  const figure = lately() ?? { rate: 0, median: null, p95: null };
  const refused = Object.values(now.refusals).reduce((sum, count) => sum + count, 0);
  const tiles = [
    [w.perSecond, number(figure.rate, 1)],
    [w.median, milliseconds(figure.median)],
    [w.p95, milliseconds(figure.p95)],
    [w.queued, number(now.queue.normal + now.queue.batch)],
    [w.refused, number(refused)],
  ];
  $("#tiles").replaceChildren(...tiles.map(([name, value]) => {
    const tile = element("div");
    tile.append(element("dt", name), element("dd", value));
    return tile;
  }));
}

function showCharts() {
  const w = words();
  $("#charts").replaceChildren(
    chart(w.perSecond, state.points.map((point) => point.rate), (v) => number(v, 1)),
    chart(w.p95, state.points.map((point) => point.p95), milliseconds),
  );
}

function chart(title, values, told) {
  const known = values.filter((value) => value !== null);
  const top = Math.max(1e-9, ...known);
  const figure = element("figure", "", { class: "chart" });
  const svg = document.createElementNS(SVG, "svg");
  const set = (node, attributes) => {
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };
  const newest = known.length ? told(known.at(-1)) : "–";
  const label = words().chartSaid(title, newest, known.length ? told(top) : "–");
  set(svg, { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label });
  set(svg, { preserveAspectRatio: "none" });
  const x = (i) => WIDTH - (values.length - 1 - i) * (WIDTH / (KEPT - 2));
  const y = (value) => HEIGHT - 2 - (value / top) * (HEIGHT - 6);
  let path = "", pen = "M";
  values.forEach((value, i) => {
    if (value === null) { pen = "M"; return; }
    path += `${pen}${x(i).toFixed(1)} ${y(value).toFixed(1)}${pen === "M" ? "h.01" : ""}`;
    pen = "L";
  });
  const line = set(document.createElementNS(SVG, "path"), { d: path || "M0 0", class: "line" });
  const ground = set(document.createElementNS(SVG, "path"), {
    d: `M0 ${HEIGHT - 1}H${WIDTH}`, class: "ground",
  });
  svg.append(ground, line);
  const caption = element("figcaption");
  caption.append(element("span", title), element("strong", newest));
  figure.append(caption, svg, element("span", `≤ ${known.length ? told(top) : "–"}`, { class: "top" }));
  return figure;
}

function showRows(now) {
  const w = words();
  const heads = [w.model, w.version, w.role, w.state, w.perSecond, w.p95, w.memory, w.load, w.answered];
  $("#columns").replaceChildren(...heads.map(
    (head, index) => element("th", head, { scope: "col", class: index < WORDED ? "" : "figure" })));
  const rows = now.models.flatMap((model) => model.versions.map((version, index) => {
    const row = element("tr");
    const figure = lately((key) => key === `${model.name} ${version.version}`);
    const engine = [version.engine, version.variant].filter(Boolean).join(" ");
    row.append(
      element(index ? "td" : "th", index ? "" : model.name, index ? {} : { scope: "row" }),
      element("td", shortVersion(version.version), { title: `${version.version} ${engine}`.trim() }),
      roles(model, version),
      element("td", w.states[version.state] ?? version.state, { class: `state ${version.state}` }),
      element("td", figure ? number(figure.rate, 1) : "–", { class: "figure" }),
      element("td", milliseconds(figure?.p95 ?? null), { class: "figure" }),
      element("td", version.state === "loaded" ? megabytes(version.memory_bytes) : "–", { class: "figure" }),
      element("td", version.load_s ? `${number(version.load_s, 2)} s` : "–", { class: "figure" }),
      element("td", number(version.live.answered + version.shadow.answered), { class: "figure" }),
    );
    return row;
  }));
  $("#rows").replaceChildren(...rows);
}

function roles(model, version) {
  const cell = element("td");
  for (const role of version.roles) {
    const share = role === "canary" ? ` ${percent(model.canary_share)}` : "";
    cell.append(element("span", `${words().roles[role]}${share}`, { class: `role ${role}` }));
  }
  return cell;
}

function showDrifts() {
  const w = words();
  $("#drifts").replaceChildren(...state.drifts.map((drift) => {
    const row = element("li", "", { class: drift.drifted ? "drifted" : "steady" });
    row.append(element("strong", drift.model), element("span", driftWords(drift)));
    for (const measure of drift.latest?.measures ?? []) {
      const text = w.measured(w.kinds[measure.kind], number(measure.distance, 3), measure.p_value);
      row.append(element("small", text, { class: measure.drifted ? "drifted" : "" }));
    }
    return row;
  }));
}

function driftWords(drift) {
  const w = words();
  if (drift.state === "no reference") return w.noReference;
  if (drift.state === "collecting") return w.collecting(drift.collected, drift.window);
  return drift.drifted ? w.drifted(drift.alarms, drift.windows) : w.steady(drift.alarms, drift.windows);
}
