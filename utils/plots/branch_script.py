"""Style and script of the page of branches."""

STYLE = """
header, main { max-width: 1700px; }
details { margin: 6px 0; } summary { cursor: pointer; color: #1f5fa8; }
#tools { position: sticky; top: 0; z-index: 3; background: #fff; padding: 10px 0; display: flex; flex-wrap: wrap;
  gap: 8px; align-items: center; }
#tools input { font: inherit; padding: 5px 10px; width: 300px; border: 1px solid #999; border-radius: 5px; }
#tools select { font: inherit; padding: 5px; border: 1px solid #999; border-radius: 5px; max-width: 260px; }
#tools button { font: inherit; font-size: 14px; padding: 4px 11px; border: 1px solid #bbb; border-radius: 14px;
  background: #fff; cursor: pointer; color: #1a1a1a; }
#tools button[aria-pressed=true] { background: #1f5fa8; border-color: #1f5fa8; color: #fff; }
#tools .shown { margin-left: auto; color: #555; }
#branches { width: 100%; border-collapse: separate; border-spacing: 0; }
#branches th, #branches td { padding: 3px 10px; }
#branches thead th { position: sticky; top: var(--tools, 54px); z-index: 2; background: #f4f6f8; cursor: pointer;
  user-select: none; }
#branches thead th.picture { cursor: default; }
#branches thead th[aria-sort=ascending]::after { content: " \\2191"; }
#branches thead th[aria-sort=descending]::after { content: " \\2193"; }
#branches tbody tr.branch { cursor: pointer; }
#branches tbody tr.branch:hover, #branches tbody tr.open { background: #f0f5fb; }
#branches tbody tr.branch:focus-visible { outline: 2px solid #1f5fa8; outline-offset: -2px; }
#branches td.name { font-weight: 600; } #branches td.left, #branches th.left { text-align: left; }
#branches td.name, #branches td.type { max-width: 330px; overflow: hidden; text-overflow: ellipsis; }
#branches td.reason { text-align: left; color: #a03000; white-space: normal; overflow-wrap: anywhere; }
#branches td.warn { color: #a03000; font-weight: 600; } #branches td.dim { color: #999; }
#branches td.picture { padding-top: 1px; padding-bottom: 1px; width: 150px; min-width: 150px; height: 36px; }
svg { display: block; } svg .bar { fill: #5790c4; } svg .out { fill: #d08a2e; }
svg text { font: 12px "Helvetica Neue", Helvetica, Arial, "Liberation Sans", sans-serif; fill: #444; }
svg text.title { font-weight: 600; } svg line { stroke: #888; }
svg .grid { stroke: #e4e4e4; } svg .hit { fill: transparent; }
svg .hit:hover { fill: rgba(31, 95, 168, 0.14); }
tr.detail > td { text-align: left; white-space: normal; background: #f9fbfd; padding: 14px 18px !important; }
.card { display: flex; flex-wrap: wrap; gap: 28px; align-items: flex-start; }
.card dl { margin: 0; } .card .chart { flex: 0 1 780px; min-width: 320px; }
.card .chart svg { width: 100%; height: auto; }
.card .line { display: flex; gap: 16px; align-items: center; min-height: 28px; color: #333; }
.card button { font: inherit; font-size: 13px; padding: 2px 10px; border: 1px solid #bbb; border-radius: 12px;
  background: #fff; cursor: pointer; }
.card table { font-size: 14px; }
@media print { #tools { display: none; } #branches thead th { position: static; } }
"""

SCRIPT = r"""
"use strict";
const { noun, rows } = JSON.parse(document.getElementById("data").textContent);
const nouns = noun + (noun.endsWith("ch") ? "es" : "s");
const entities = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escape = text => String(text).replace(/[&<>"]/g, c => entities[c]);
const whole = n => n.toLocaleString("en-US");
const short = x => x === 0 ? "0" : Math.abs(x) < 1e6 && Math.abs(x) >= 1e-4 ? String(+x.toPrecision(5))
  : x.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e");
const bytes = n => { const units = ["B", "kB", "MB", "GB", "TB"]; let i = 0;
  while (n >= 999.5 && i < 4) { n /= 1000; i++; } return (i ? n.toPrecision(3) : n) + " " + units[i]; };
const share = row => row.n_values ? (row.n_zero || 0) / row.n_values : 0;
const percent = p => p === 0 ? "" : p === 1 ? "100%" : p < 0.001 ? "<0.1%" : p > 0.999 ? ">99.9%"
  : (100 * p).toFixed(1) + "%";
const known = x => x !== undefined && x !== "" && x !== null;

// Every column: heading, what it is sorted by, what it shows, class of the cell.
const columns = [
  [noun, r => r.name.toLowerCase(), r => escape(r.name), () => "name"],
  ["values", null, r => picture(r), () => "picture"],
  ["type", r => r.type || "", r => escape(r.type || ""), () => "left type"],
  ["shape", r => r.shape || "", r => escape(r.shape || ""), () => "left"],
  ["min", r => known(r.minimum) ? Number(r.minimum) : null, r => r.minimum ?? ""],
  ["max", r => known(r.maximum) ? Number(r.maximum) : null, r => r.maximum ?? ""],
  ["max length", r => r.length ?? null, r => known(r.length) ? whole(r.length) : ""],
  ["NaN", r => r.n_nan || 0, r => r.n_nan ? whole(r.n_nan) : "", r => r.n_nan ? "warn" : ""],
  ["inf", r => r.n_infinite || 0, r => r.n_infinite ? whole(r.n_infinite) : "", r => r.n_infinite ? "warn" : ""],
  ["zeros", r => share(r), r => percent(share(r))],
  ["on disk", r => r.n_stored ?? null, r => known(r.n_stored) ? bytes(r.n_stored) : ""],
  ["packed", r => r.ratio ?? null, r => known(r.ratio) ? r.ratio.toFixed(1) + "×" : ""],
].filter(c => c[0] !== "values" || rows.some(r => r.histogram || r.texts));

const filters = [["all", () => true]].concat(
  ["flat", "jagged", "fixed", "text", "unreadable"].map(kind => [kind, r => r.kind === kind]),
  [["NaN or inf", r => r.n_nan || r.n_infinite], ["constant", r => (r.marks || []).includes("constant")],
   ["differs", r => (r.marks || []).includes("differs")]],
).filter(([, test], i) => i === 0 || rows.some(test));

const state = { text: "", filter: 0, group: null, sort: null, down: false };
const tools = document.getElementById("tools");
const head = document.querySelector("#branches thead"), body = document.querySelector("#branches tbody");

function edge(h, i) { return h.scale === "log" ? 2 ** (h.first + i * h.step) : h.first + i * h.step; }

// A small histogram: the outline of the bars, in one path. What lies outside is orange, at its side.
function picture(row) {
  const h = row.histogram;
  if (!h) return "";
  const width = 150, height = 32, side = 5, most = Math.max(...h.counts, 1);
  const alone = h.counts.length === 1 && !h.below && !h.above;  // a constant: a narrow bar
  const left = alone ? width / 2 - 6 : h.below ? side + 2 : 0, right = alone ? left : h.above ? side + 2 : 0;
  const w = (width - left - right) / h.counts.length;
  let path = `M${left} ${height}`;
  h.counts.forEach((n, i) => {
    const y = n ? Math.min(height - (height - 2) * n / most, height - 1) : height;
    path += `V${y.toFixed(1)}H${(left + (i + 1) * w).toFixed(1)}`;
  });
  const out = (n, x) => { const tall = Math.max(2, (height - 2) * Math.min(1, n / most));
    return n ? `<rect class="out" x="${x}" y="${height - tall}" width="${side}" height="${tall}"/>` : ""; };
  return `<svg width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`
    + `<path class="bar" d="${path}V${height}Z"/>` + out(h.below, 0) + out(h.above, width - side) + "</svg>";
}

// Round numbers between two, at most about `n`.
function ticks(low, high, n) {
  const rough = (high - low) / n, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(f => f * power).find(s => s >= rough * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++)
    found.push(+(i * step).toPrecision(12));
  return found;
}

function logTicks(low, high) {
  const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
  const step = Math.max(1, Math.ceil((last - first + 1) / 8)), found = [];
  for (let p = first; p <= last; p += step) found.push(10 ** p);
  return found.length > 1 ? found : [low, high];
}

function chart(row, logY) {
  const h = row.histogram, W = 780, H = 300, left = 62, bottom = 42, top = 12, side = 16;
  const x0 = left + (h.below ? side + 8 : 0), x1 = W - 14 - (h.above ? side + 8 : 0), n = h.counts.length;
  const most = Math.max(...h.counts, h.below || 0, h.above || 0, 1), floor = H - bottom;
  const tall = count => count === 0 ? 0 : logY ? (floor - top) * Math.log10(count / 0.5) / Math.log10(most * 1.3 / 0.5)
    : (floor - top) * count / (most * 1.06);
  const w = (x1 - x0) / n, centred = h.scale === "value";
  const at = value => x0 + w * (h.scale === "log" ? (Math.log2(value) - h.first) / h.step : (value - h.first) / h.step);
  const levels = logY ? logTicks(1, Math.max(most, 10)) : ticks(0, most, 5).filter(t => Number.isInteger(t));
  const y = levels.map(t => {
    const place = floor - tall(t);
    return `<line class="grid" x1="${left}" x2="${W - 14}" y1="${place}" y2="${place}"/>`
      + `<text x="${left - 7}" y="${place + 4}" text-anchor="end">${t >= 1e5 ? short(t) : whole(t)}</text>`;
  }).join("");
  const low = edge(h, 0), high = edge(h, n);
  const marks = h.scale === "log" ? logTicks(low, high)
    : ticks(low, centred ? high - 1 : high, 8).filter(t => !centred || Number.isInteger(t));
  const x = marks.filter(t => t >= low && t <= high).map(t => { const place = at(t) + (centred ? w / 2 : 0);
    return `<line x1="${place}" x2="${place}" y1="${floor}" y2="${floor + 5}"/>`
      + `<text x="${place}" y="${floor + 19}" text-anchor="middle">${short(t)}</text>`; }).join("");
  const bar = (count, x, width, kind, words) =>
    `<rect class="${kind}" x="${x}" y="${floor - tall(count)}" width="${width}" height="${tall(count)}"/>`
    + `<rect class="hit" x="${x}" y="${top}" width="${width}" height="${floor - top}" data-words="${escape(words)}"/>`;
  const counted = count => `${whole(count)} (${(100 * count / (row.n_values || 1)).toPrecision(3)}%)`;
  const bars = h.counts.map((count, i) => bar(count, x0 + i * w, w > 6 ? w - 1 : w + 0.3, "bar",
    (centred ? short(edge(h, i)) : `${short(edge(h, i))} to ${short(edge(h, i + 1))}`) + `: ${counted(count)}`)
  ).join("");
  const outside = (h.below ? bar(h.below, left, side, "out", `below ${short(low)}: ${counted(h.below)}`)
      + `<text x="${left + side / 2}" y="${floor + 19}" text-anchor="middle">below</text>` : "")
    + (h.above ? bar(h.above, W - 14 - side, side, "out", `above ${short(high)}: ${counted(h.above)}`)
      + `<text x="${W - 14 - side / 2}" y="${floor + 19}" text-anchor="middle">above</text>` : "");
  return `<svg viewBox="0 0 ${W} ${H}" role="img" aria-label="histogram of ${escape(row.name)}">${y}${bars}${outside}`
    + `<line x1="${left}" x2="${W - 14}" y1="${floor}" y2="${floor}"/>${x}`
    + `<text x="${(x0 + x1) / 2}" y="${H - 5}" text-anchor="middle" class="title">${escape(row.name)}</text></svg>`;
}

function detail(row) {
  const line = document.createElement("tr");
  line.className = "detail";
  const facts = (row.facts || []).map(([name, value]) => `<dt>${escape(name)}</dt><dd>${escape(value)}</dd>`).join("");
  const counts = (row.texts || []).map(([text, n]) =>
    `<tr><td class="left">${escape(text)}</td><td>${whole(n)}</td></tr>`).join("");
  const texts = counts && `<table><thead><tr><th class="left">text</th><th>times</th></tr></thead><tbody>${counts}`
    + "</tbody></table>";
  const plot = !row.histogram ? ""
    : `<div class="chart"><div class="line"><button>log y</button><span></span></div><div></div></div>`;
  line.innerHTML = `<td colspan="${columns.length}"><div class="card">${plot}${texts}<dl>${facts}</dl></div></td>`;
  if (row.histogram) {
    const button = line.querySelector("button"), words = line.querySelector("span");
    const place = line.querySelector(".chart").lastChild;
    let logY = false;
    const draw = () => { place.innerHTML = chart(row, logY); button.textContent = logY ? "linear y" : "log y"; };
    button.onclick = () => { logY = !logY; draw(); };
    place.onmouseover = event => { words.textContent = event.target.dataset.words || ""; };
    draw();
  }
  return line;
}

function toggle(element, row) {
  if (element.classList.toggle("open")) element.after(detail(row));
  else element.nextSibling.remove();
  element.setAttribute("aria-expanded", element.classList.contains("open"));
}

const elements = rows.map((row, i) => {
  const element = document.createElement("tr");
  element.className = "branch";
  element.tabIndex = 0;
  element.dataset.row = i;
  element.onclick = () => { if (!String(getSelection())) toggle(element, row); };
  element.onkeydown = event => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); toggle(element, row); }
  };
  return element;
});

// Rows get their cells when they come near the screen: 1,500 rows are there at once that way.
function fill(element, row) {
  if (row.reason && !known(row.minimum)) {
    element.innerHTML = `<td class="name" title="${escape(row.name)}">${escape(row.name)}</td>`
      + `<td class="reason" colspan="${columns.length - 1}">${escape(row.type || "")}: ${escape(row.reason)}</td>`;
    return;
  }
  element.innerHTML = columns.map(([title, , show, kind]) => {
    const name = kind ? kind(row) : "";
    const tip = title === noun ? row.name : title === "type" ? row.type : "";
    return `<td class="${name}"${tip ? ` title="${escape(tip)}"` : ""}>${show(row)}</td>`;
  }).join("");
}
const seen = new IntersectionObserver(entries => entries.forEach(entry => {
  if (!entry.isIntersecting) return;
  seen.unobserve(entry.target);
  fill(entry.target, rows[entry.target.dataset.row]);
}), { rootMargin: "1500px" });
const FIRST = 60;
elements.forEach((element, i) => {
  if (i < FIRST) fill(element, rows[i]);
  else {
    element.innerHTML = `<td class="name">${escape(rows[i].name)}</td><td class="picture"></td>`;
    seen.observe(element);
  }
});
addEventListener("beforeprint", () => elements.forEach((element, i) => fill(element, rows[i])));

function matcher(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean).map(word => new RegExp(
    word.includes("*") ? "^" + word.split("*").map(p => p.replace(/[.+?^${}()|[\]\\]/g, "\\$&")).join(".*") + "$"
      : word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")));
  return row => words.every(word => word.test(row.name.toLowerCase()) || word.test((row.type || "").toLowerCase()));
}

function show() {
  const matches = matcher(state.text), wanted = filters[state.filter][1];
  const order = rows.map((row, i) => i).filter(i =>
    matches(rows[i]) && wanted(rows[i]) && (state.group === null || (rows[i].group || "") === state.group));
  if (state.sort !== null) {
    const key = columns[state.sort][1], down = state.down ? -1 : 1;
    order.sort((a, b) => {
      const [x, y] = [key(rows[a]), key(rows[b])];
      if (x === null || y === null) return (x === null) - (y === null) || a - b;
      return x < y ? -down : x > y ? down : a - b;
    });
  }
  const fragment = document.createDocumentFragment();
  for (const i of order) {
    const below = elements[i].classList.contains("open") ? elements[i].nextSibling : null;
    fragment.append(elements[i]);
    if (below) fragment.append(below);
  }
  body.replaceChildren(fragment);
  document.getElementById("none").hidden = order.length > 0;
  const all = `${whole(rows.length)} ${rows.length === 1 ? noun : nouns}`;
  tools.querySelector(".shown").textContent = order.length === rows.length ? all : `${whole(order.length)} of ${all}`;
  tools.querySelectorAll("button").forEach((button, i) => button.setAttribute("aria-pressed", i === state.filter));
  head.querySelectorAll("th").forEach((cell, i) => cell.setAttribute("aria-sort",
    i !== state.sort ? "none" : state.down ? "descending" : "ascending"));
}

const groups = new Map();
rows.forEach(row => groups.set(row.group || "", (groups.get(row.group || "") || 0) + 1));
tools.innerHTML = `<input type="search" placeholder="Search: muon pt, Jet_*, bool" aria-label="search">`
  + (groups.size > 1 ? `<select aria-label="collection"><option value="">all collections</option>`
    + [...groups].filter(([name]) => name).sort((a, b) => b[1] - a[1]).map(([name, n]) =>
      `<option value="${escape(name)}">${escape(name)} (${n})</option>`).join("")
    + (groups.get("") ? `<option value=" ">others (${groups.get("")})</option>` : "") + "</select>" : "")
  + filters.map(([name, test]) => `<button>${name} ${whole(rows.filter(test).length)}</button>`).join("")
  + `<span class="shown"></span>`;
const search = tools.querySelector("input"), select = tools.querySelector("select");
search.oninput = () => { state.text = search.value; show(); };
if (select) select.onchange = () => { state.group = select.value === "" ? null : select.value.trim(); show(); };
tools.querySelectorAll("button").forEach((button, i) => { button.onclick = () => { state.filter = i; show(); }; });
addEventListener("keydown", event => {
  if (event.key === "/" && document.activeElement !== search) { event.preventDefault(); search.focus(); }
});
const side_of = title => ["values", "type", "shape"].includes(title) ? "left" : "";
head.innerHTML = "<tr>" + columns.map(([title, key]) =>
  `<th class="${key === null ? "picture " : ""}${side_of(title)}" scope="col">${title}</th>`).join("") + "</tr>";
head.querySelectorAll("th").forEach((cell, i) => { if (columns[i][1]) cell.onclick = () => {
  const text = typeof columns[i][1](rows[0]) === "string";
  if (state.sort !== i) Object.assign(state, { sort: i, down: !text });
  else if (state.down !== text) state.down = !state.down;
  else state.sort = null;
  show();
}; });
const place = () => document.documentElement.style.setProperty("--tools", tools.offsetHeight + "px");
addEventListener("resize", place);
show();
place();
if (location.hash) { const i = rows.findIndex(row => row.name === decodeURIComponent(location.hash.slice(1)));
  if (i >= 0) { toggle(elements[i], rows[i]); elements[i].scrollIntoView({ block: "center" }); } }
document.documentElement.dataset.drawn = "yes";
"""
