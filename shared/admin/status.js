"use strict";
const every = 1000, kept = 121, rateWindow = 5, hitWindow = 10, many = 6;
const $ = id => document.getElementById(id);
const sep = "\n"; // between the names of a path: members may have dots and slashes
const headline = JSON.parse(document.querySelector("main").dataset.headline).map(path => path.split(".").join(sep));
let token = "", version = "", samples = [], shape = "", cells = new Map(), timer = 0;

const isObject = v => v !== null && typeof v === "object";
const at = (stats, path) => path.split(sep).reduce((v, name) => isObject(v) ? v[name] : undefined, stats);
const strip = name => name.replace(/_(total|ratio|ms|seconds|bytes)$/, "").replace(/_+/g, " ");
const caches = v => isObject(v) && typeof v.hit === "number";
const sum = v => isObject(v) ? Object.values(v).reduce((all, m) => all + sum(m), 0) : v;

// What a number is goes by its own name or the nearest above it; the count of a distribution has no unit.
function unit(path) {
  const names = path.split(sep).reverse();
  if (names[0] === "count") return "total";
  return names.map(name => /_(total|ratio|ms|seconds|bytes)$/.exec(name)).find(Boolean)?.[1] || "";
}

const still = (v, path) => v === 0 && unit(path) === "total";

function label(path) {
  const words = path.split(sep).map(strip).join(" ");
  return /^(p\d|\d)|[^\w ]/.test(words) ? words : words.charAt(0).toUpperCase() + words.slice(1);
}

function make(tag, text, kind) {
  const node = document.createElement(tag);
  if (text) node.textContent = text;
  if (kind) node.className = kind;
  return node;
}

// The sample that lies `seconds` before index i, or the oldest; null when the program restarted in between.
function before(i, seconds) {
  let j = i;
  while (j > 0 && samples[i].time - samples[j].time < seconds * 1000) j--;
  return j < i ? samples[j] : null;
}

function rate(path, i = samples.length - 1) {
  const then = before(i, rateWindow);
  const grown = then ? sum(at(samples[i].stats, path)) - sum(at(then.stats, path)) : -1;
  return grown >= 0 ? grown * 1000 / (samples[i].time - then.time) : null;
}

function hitRate(path, i = samples.length - 1) {
  const now = at(samples[i].stats, path), then = before(i, hitWindow);
  const old = then && at(then.stats, path);
  const hits = v => v.hit + (v.negative || 0);
  let [answered, asked] = [hits(now), sum(now)];
  if (caches(old) && sum(now) > sum(old)) [answered, asked] = [hits(now) - hits(old), sum(now) - sum(old)];
  return asked > 0 ? answered / asked : null;
}

const digits = (v, most) => v.toLocaleString("en", {maximumFractionDigits: most});
const short = v => digits(v, v < 10 ? 2 : v < 100 ? 1 : 0);

function share(v) {
  const percent = v * 100;
  return digits(percent > 99.9 && percent < 100 ? Math.floor(percent * 1000) / 1000 : percent, percent > 99 ? 2 : 1) + " %";
}

function seconds(v) {
  if (v < 1) return short(v * 1000) + " ms";
  if (v < 120) return short(v) + " s";
  const min = Math.floor(v / 60), h = Math.floor(min / 60), d = Math.floor(h / 24);
  return d ? `${d} d ${h % 24} h` : h ? `${h} h ${min % 60} min` : `${min} min`;
}

function bytes(v) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (v >= 1024 && i < units.length - 1) { v /= 1024; i++; }
  return short(v) + " " + units[i];
}

function value(kind, v) {
  if (v === null || v === undefined) return "–";
  if (typeof v === "boolean") return v ? "yes" : "no";
  if (typeof v !== "number") return String(v);
  if (kind === "ratio") return share(v);
  if (kind === "ms") return short(v) + " ms";
  if (kind === "seconds") return seconds(v);
  if (kind === "bytes") return bytes(v);
  return Number.isInteger(v) ? digits(v, 0) : short(v);
}

function stateClass(text) {
  if (/^(up|ok|closed|ready|connected)$/.test(text)) return "state good";
  return /^(down|open|not ready|disconnected|unreachable)$/.test(text) ? "state bad" : "state";
}

function fill(cell, path) {
  const v = at(samples.at(-1).stats, path);
  if (cell.dataset.hits) { cell.textContent = caches(v) ? value("ratio", hitRate(path)) : "–"; return; }
  if (/(^|[_\n])state$/.test(path) && typeof v === "string") {
    cell.replaceChildren(make("span", v, stateClass(v)));
    return;
  }
  cell.textContent = value(unit(path), v);
  cell.className = still(v, path) ? "quiet" : "";
  const perSecond = unit(path) === "total" && typeof v === "number" ? rate(path) : null;
  if (perSecond > 0) cell.append(make("span", "  " + short(perSecond) + "/s", "rate"));
}

function cell(path, hits) {
  const td = make("td");
  if (hits) td.dataset.hits = "1";
  cells.set(path + (hits ? "#hits" : ""), [td, path]);
  return td;
}

// One row for each scalar; objects inside follow as blocks of their own. Of many counts, those of nothing share a row.
function list(object, path, into) {
  const body = make("tbody"), scalars = Object.keys(object).filter(name => !isObject(object[name]));
  const row = (text, td) => { const tr = make("tr"); tr.append(make("th", text), td); body.append(tr); };
  const idle = scalars.filter(name => scalars.length > many && still(object[name], path + sep + name));
  if (caches(object)) row("Hit rate", cell(path, true));
  for (const name of scalars) if (!idle.includes(name)) row(label(name), cell(path + sep + name));
  if (idle.length) {
    row(idle.length + " others", make("td", "0", "quiet"));
    body.lastChild.title = idle.map(strip).join(", ");
  }
  if (body.children.length) { const table = make("table"); table.append(body); into.append(table); }
  for (const [name, v] of Object.entries(object)) {
    if (!isObject(v) || !Object.keys(v).length) continue;
    into.append(make("h3", label(name)));
    block(v, path + sep + name, into);
  }
}

// One row for each member, one column for each name that a member has.
function matrix(object, path, into) {
  const names = [...new Set(Object.values(object).flatMap(Object.keys))];
  const anyHits = Object.values(object).some(caches);
  const table = make("table"), head = make("tr"), body = make("tbody");
  const named = Array.isArray(object) && names.find(name => typeof object[0][name] === "string" && name !== "state");
  const called = named ? names.splice(names.indexOf(named), 1)[0] : "";
  head.append(make("th", label(called)), ...(anyHits ? [make("th", "Hit rate")] : []), ...names.map(name => make("th", label(name))));
  for (const [key, member] of Object.entries(object)) {
    const tr = make("tr"), own = path + sep + key;
    tr.append(make("th", called ? String(member[called]) : label(key)));
    if (anyHits) tr.append(caches(member) ? cell(own, true) : make("td"));
    for (const name of names) tr.append(name in member ? cell(own + sep + name) : make("td"));
    body.append(tr);
  }
  const thead = make("thead");
  thead.append(head);
  table.append(thead, body);
  into.append(table);
  return names.length + anyHits;
}

// Returns how many columns wide the block is.
function block(object, path, into) {
  const members = Object.values(object);
  const flat = m => isObject(m) && !Object.values(m).some(isObject);
  if (members.length && members.every(flat)) return matrix(object, path, into);
  list(object, path, into);
  return 1;
}

// Members whose names begin with the same word share a card.
function build(stats) {
  cells = new Map();
  const groups = new Map();
  for (const [name, v] of Object.entries(stats)) {
    if (name === "uptime_seconds" || isObject(v) && !Object.keys(v).length) continue;
    const word = strip(name).split(" ")[0];
    groups.set(word, [...groups.get(word) || [], name]);
  }
  const cards = [], loose = make("tbody");
  const row = (into, text, name) => { const tr = make("tr"); tr.append(make("th", text), cell(name)); into.append(tr); };
  for (const [word, names] of groups) {
    if (names.length === 1 && !isObject(stats[names[0]])) { row(loose, label(names[0]), names[0]); continue; }
    const card = make("section", "", "card"), body = make("tbody"), table = make("table");
    const blocks = make("div", "", "blocks"), head = make("div");
    const time = unit(names[0]) === "seconds" ? " time" : "";
    card.append(make("h2", names.length > 1 ? label(word) : label(names[0]) + time), blocks);
    table.append(body);
    head.append(table);
    let wide = 0;
    for (const name of names) {
      const rest = label(strip(name).slice(word.length).trim() || (unit(name) === "seconds" ? "time" : word));
      if (!isObject(stats[name])) { row(body, rest, name); continue; }
      const div = make("div");
      if (names.length > 1) div.append(make("h3", rest));
      wide = Math.max(wide, block(stats[name], name, div));
      blocks.append(div);
    }
    if (body.children.length) blocks.prepend(head);
    if (wide > 2) card.classList.add("wide");
    cards.push(card);
  }
  cards.sort((a, b) => b.classList.contains("wide") - a.classList.contains("wide"));
  if (loose.children.length) {
    const card = make("section", "", "card"), table = make("table");
    table.append(loose);
    card.append(make("h2", "Others"), table);
    cards.push(card);
  }
  $("cards").replaceChildren(...cards);
}

function point(path, i) {
  const v = at(samples[i].stats, path);
  if (caches(v)) return hitRate(path, i);
  if (unit(path) === "total") return rate(path, i);
  return typeof v === "number" ? v : null;
}

function curve(points, ceiling) {
  const top = ceiling || Math.max(...points.filter(p => p !== null), 0) * 1.15 || 1;
  const x = i => (100 * (kept - points.length + i) / (kept - 1)).toFixed(2);
  const y = p => (43 - 40 * Math.min(p / top, 1)).toFixed(2);
  const runs = points.map((p, i) => p === null ? "" : x(i) + " " + y(p));
  const first = runs.findIndex(Boolean);
  if (first < 0) return ["", ""];
  const line = "M" + runs.slice(first).filter(Boolean).join("L");
  return [line, line + `L100 44L${x(first)} 44Z`];
}

function tile(path) {
  const v = at(samples.at(-1).stats, path), hits = caches(v), counts = !hits && unit(path) === "total";
  if (!hits && !counts && typeof v !== "number" || v === undefined) return null;
  const points = samples.map((_, i) => point(path, i)), now = points.at(-1);
  const card = make("section", "", "card tile"), figure = make("div", "", "figure");
  card.title = "the last two minutes";
  card.append(make("h2", hits ? label(path.split(sep).pop()) + " hit rate" : label(path)), figure);
  const text = hits ? value("ratio", now) : counts ? (now === null ? "–" : short(now)) : value(unit(path), v);
  const [number, measure] = text.split(" ");
  figure.textContent = number;
  figure.append(make("small", counts ? "per second" : measure || ""));
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 44");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  curve(points, hits || unit(path) === "ratio" ? 1 : 0).forEach((d, i) => {
    const drawn = document.createElementNS("http://www.w3.org/2000/svg", "path");
    drawn.setAttribute("d", d);
    drawn.setAttribute("class", i ? "below" : "course");
    svg.append(drawn);
  });
  card.append(svg);
  return card;
}

// What the page's structure depends on: which members there are, and which counts have begun.
function structure(v, path) {
  if (isObject(v)) return Object.entries(v).map(([name, m]) => structure(m, path ? path + sep + name : name)).join();
  return path + (still(v, path) ? "=0" : "");
}

function show(stats, ready) {
  if (samples.length && stats.uptime_seconds < samples.at(-1).stats.uptime_seconds) samples = [];
  samples.push({time: performance.now(), stats});
  samples = samples.slice(-kept);
  const now = structure(stats, "");
  if (now !== shape) { build(stats); shape = now; }
  for (const [td, path] of cells.values()) fill(td, path);
  $("tiles").replaceChildren(...headline.map(tile).filter(Boolean));
  const degraded = ready.degraded || [];
  $("degraded").hidden = !degraded.length;
  $("degraded").querySelector("ul").replaceChildren(...degraded.map(text => make("li", text)));
  const state = ready.status === "ready" && degraded.length ? "degraded" : ready.status;
  $("state").textContent = state;
  $("state").className = stateClass(state);
  const up = stats.uptime_seconds;
  $("about").textContent = [version, typeof up === "number" && "up " + seconds(Math.floor(up))].filter(Boolean).join(" · ");
}

async function ask(path) {
  const headers = token ? {Authorization: "Bearer " + token} : {};
  return fetch(path, {headers, cache: "no-store", signal: AbortSignal.timeout(5000)});
}

function wantToken(wrong) {
  $("ask").hidden = false;
  $("figures").hidden = true;
  $("state").textContent = "locked";
  if (wrong) $("why").textContent = "That is not the admin token.";
  $("token").focus();
}

async function poll() {
  clearTimeout(timer);
  if (document.hidden) return;
  try {
    const [ready, stats] = await Promise.all([ask("readyz"), ask("v1/stats")]);
    if (stats.status === 401) { wantToken(token !== ""); token = ""; return; }
    if (!stats.ok) throw new Error((await stats.json()).detail);
    if (!version) version = (await (await ask("version")).json()).version;
    show(await stats.json(), await ready.json());
    $("lost").hidden = true;
    $("figures").className = "";
  } catch (error) {
    const last = samples.length ? " These are its figures of " + $("lost").dataset.since + "." : "";
    $("lost").textContent = `${document.title} does not answer (${error.message}).` + last;
    $("lost").hidden = false;
    $("figures").className = "stale";
    $("state").textContent = "unreachable";
    $("state").className = stateClass("unreachable");
  }
  if ($("lost").hidden) $("lost").dataset.since = new Date().toLocaleTimeString();
  timer = setTimeout(poll, every);
}

$("ask").addEventListener("submit", event => {
  event.preventDefault();
  token = $("token").value.trim();
  $("token").value = "";
  $("ask").hidden = true;
  $("figures").hidden = false;
  poll();
});
document.addEventListener("visibilitychange", poll);
poll();
