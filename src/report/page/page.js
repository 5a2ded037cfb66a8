// The page of gospy: shows a document that a server gives, or that is in the page. Texts of the program that is looked
// at are data: they become text nodes, and never markup.
"use strict";

const TABS = [["groups", "Goroutines"], ["flame", "Flame graph"], ["waits", "Waits"], ["sched", "Scheduler"], ["heap", "Heap and GC"]];
const KEYS = [["1 – 5", "views"], ["/", "filter"], ["j k ↑ ↓", "next, previous group"], ["Enter", "its stack"],
  ["Esc", "close"], ["s", "show the runtime's own, too"], ["?", "keys"]];
const LIVE_KEYS = [["m", "mark: show what grows from now on"], ["l", "live"], ["r", "read again"]];
const MOST_HISTORY = 600;

const embedded = document.getElementById("document");
const page = { pid: null, doc: null, tab: "groups", at: -1, open: null, mark: null, source: null, history: [], weight: "count", zoom: [], tick: null };

const $ = (id) => document.getElementById(id);

function el(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "onclick") made.addEventListener("click", value);
    else if (key === "style") Object.assign(made.style, value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function svg(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// ---- numbers in words ----

const count = (n) => n === null || n === undefined ? "?" : Number(n).toLocaleString("en-US");

function bytes(n) {
  if (n === null || n === undefined) return "?";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (n >= 1024 && at < units.length - 1) { n /= 1024; at += 1; }
  return `${at === 0 ? n : n.toPrecision(3)} ${units[at]}`;
}

function duration(ns) {
  if (ns === null || ns === undefined) return "?";
  const s = ns / 1e9;
  if (s < 1e-3) return `${(ns / 1e3).toPrecision(3)} µs`;
  if (s < 1) return `${(ns / 1e6).toPrecision(3)} ms`;
  if (s < 60) return `${s.toPrecision(3)} s`;
  const m = Math.floor(s / 60);
  if (m < 60) return `${m}m${Math.floor(s % 60)}s`;
  const h = Math.floor(m / 60);
  return h < 24 ? `${h}h${m % 60}m` : `${Math.floor(h / 24)}d${h % 24}h`;
}

function waited(wait) {
  if (!wait) return "";
  const [least, most] = wait.map(duration);
  return least === most ? `≥ ${least}` : `≥ ${least} to ${most}`;
}

// ---- reading ----

async function read(path) {
  const reply = await fetch(path, { headers: { Accept: "application/json" } });
  if (!reply.ok) throw new Error((await reply.text()).trim() || `${reply.status}`);
  return reply.json();
}

const filter = () => $("filter").value.trim();
const query = () => filter() ? `?filter=${encodeURIComponent(filter())}` : "";

async function load() {
  if (embedded) return;
  const pid = page.pid;
  try {
    const doc = await read(`/pid/${pid}/page.json${query()}`);
    if (pid !== page.pid) return;
    notice("");
    take(doc);
  } catch (error) {
    notice(`${error.message}`);
    if (page.source) stopLive();
  }
}

function take(doc) {
  page.doc = doc;
  remember(doc.summary.captured_at, doc.summary.goroutines.total, doc.summary.heap, doc.summary.gc);
  draw();
}

function remember(at, goroutines, heap, gc) {
  page.history.push({ at: Date.parse(at), goroutines, alloc: heap && heap.alloc_bytes, goal: gc && gc.next_goal_bytes, stacks: heap && heap.stack_inuse_bytes });
  if (page.history.length > MOST_HISTORY) page.history.shift();
}

function startLive() {
  if (embedded || page.pid === null) return;
  page.source = new EventSource(`/pid/${page.pid}/live${query()}`);
  page.source.addEventListener("tick", (event) => tick(JSON.parse(event.data)));
  page.source.addEventListener("end", () => { notice("The program has ended, or cannot be read any more."); stopLive(); });
  page.source.onerror = () => { if (page.source && page.source.readyState === EventSource.CLOSED) { notice("The connection is lost."); stopLive(); } };
  drawTools();
}

function stopLive() {
  if (page.source) page.source.close();
  page.source = null;
  drawTools();
}

// Counts that have changed; what is not known yet is read whole.
function tick(news) {
  if (!page.doc) return;
  page.tick = news;
  const known = new Map(page.doc.groups.map((group) => [group.key, group]));
  if (news.groups.some(([key]) => !known.has(key))) { load(); return; }
  const counts = new Map(news.groups);
  for (const group of page.doc.groups) {
    if (counts.has(group.key)) group.count = counts.get(group.key);
    else if (news.complete) group.count = 0;
  }
  const summary = page.doc.summary;
  Object.assign(summary, { captured_at: news.captured_at, heap: news.heap, gc: news.gc, sched: news.sched });
  Object.assign(summary.goroutines, news.goroutines);
  remember(news.captured_at, news.goroutines.total, news.heap, news.gc);
  draw();
}

// ---- what is shown ----

function notice(text) { $("notice").textContent = text; }

function route() {
  if (embedded) return;
  const [, pid, tab] = /^#\/(\d+)(?:\/(\w+))?/.exec(location.hash) || [];
  if (pid === undefined) {
    stopLive();
    Object.assign(page, { pid: null, doc: null });
    programs();
    return;
  }
  const isNew = page.pid !== pid;
  page.tab = TABS.some(([name]) => name === tab) ? tab : "groups";
  if (isNew) {
    stopLive();
    Object.assign(page, { pid, doc: null, at: -1, open: null, mark: null, history: [], zoom: [] });
    load();
  } else {
    draw();
  }
}

function show(tab) {
  if (embedded) { page.tab = tab; draw(); } else location.hash = `#/${page.pid}/${tab}`;
}

async function programs() {
  for (const id of ["tabs", "tools"]) $(id).hidden = true;
  $("detail").hidden = true;
  $("name").textContent = "";
  $("facts").textContent = "Go programs";
  document.title = "gospy";
  try {
    const { processes } = await read("/api/v1/processes");
    const rows = processes.map((process) => {
      const exe = process.exe ? process.exe.split("/").pop() : process.name;
      const go = () => { location.hash = `#/${process.pid}`; };
      return el("tr", { onclick: go },
        el("td", { class: "number" }, String(process.pid)),
        el("td", {}, el("a", { href: `#/${process.pid}` }, exe)),
        el("td", {}, process.user || ""),
        el("td", { class: "number" }, process.goroutines === null || process.goroutines === undefined ? "" : count(process.goroutines)),
        el("td", {}, process.go_version || ""),
        el("td", { class: "hide-small" }, process.pod || (process.container || "").slice(0, 12)),
        el("td", { class: "place hide-small" }, process.module || ""));
    });
    $("main").replaceChildren(table([["pid", "number"], ["program"], ["user"], ["goroutines", "number"], ["Go"], ["pod or container", "hide-small"], ["module", "hide-small"]], rows));
    notice(rows.length ? "" : "No Go program is served.");
  } catch (error) {
    notice(error.message);
  }
}

function table(heads, rows, plain) {
  const head = heads.map(([text, kind]) => el("th", { class: kind, scope: "col" }, text));
  return el("table", { class: plain ? "plain" : null }, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows));
}

function draw() {
  const { doc } = page;
  if (!doc) return;
  const { target, goroutines, captured_at, complete } = doc.summary;
  document.title = `${doc.name} · gospy`;
  $("name").textContent = doc.name;
  const facts = [`pid ${target.pid}`, target.go_version, `${count(goroutines.total)} goroutines`,
    target.uptime_ns ? `up ${duration(target.uptime_ns)}` : null,
    target.rss_bytes ? `RSS ${bytes(target.rss_bytes)}` : null,
    new Date(captured_at).toLocaleString(), complete ? null : "incomplete"];
  $("facts").textContent = facts.filter(Boolean).join(" · ");
  drawTools();
  const drawn = { groups: drawGroups, flame: drawFlame, waits: drawWaits, sched: drawSched, heap: drawHeap }[page.tab](doc);
  $("main").replaceChildren(...drawn.filter(Boolean));
  drawDetail();
}

function drawTools() {
  $("tabs").hidden = !page.doc;
  $("tools").hidden = !page.doc;
  $("tabs").replaceChildren(...TABS.map(([name, text]) =>
    el("button", { type: "button", role: "tab", "aria-selected": String(page.tab === name), onclick: () => show(name) }, text)));
  for (const id of ["live", "mark"]) $(id).hidden = Boolean(embedded);
  $("live").setAttribute("aria-pressed", String(page.source !== null));
  $("mark").setAttribute("aria-pressed", String(page.mark !== null));
}

// A saved page has no server to evaluate the filter: its words are searched for in each group's text.
function matches(group) {
  if (!$("system").checked && group.system) return false;
  if (!embedded || !filter()) return true;
  const text = [group.state, ...group.place, group.on || "", ...group.stack.map((at) => page.doc.frames[at].join(" "))].join(" ").toLowerCase();
  return filter().toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

const visible = () => page.doc.groups.filter((group) => group.count > 0 && matches(group));

function growth(group) {
  if (!page.mark) return null;
  return group.count - (page.mark.get(group.key) || 0);
}

function drawGroups(doc) {
  const groups = visible();
  if (page.mark) groups.sort((a, b) => growth(b) - growth(a) || b.count - a.count);
  page.shown = groups;
  const rows = groups.map((group, at) => {
    const grown = growth(group);
    const change = grown === null ? null : el("td", { class: `number ${grown > 0 ? "grown" : grown < 0 ? "shrunk" : "dim"}` }, grown > 0 ? `+${count(grown)}` : count(grown));
    const [place, file] = group.place;
    return el("tr", { class: "group", "aria-selected": String(at === page.at), onclick: () => open(at) },
      el("td", { class: "number" }, count(group.count)), change,
      el("td", { class: "state" }, group.state),
      el("td", { class: "wait" }, waited(group.wait)),
      el("td", { class: "place" }, place || group.why || "", el("span", { class: "dim" }, ` ${file}`), group.on ? el("div", { class: "dim" }, `on ${group.on}`) : null));
  });
  const heads = [["count", "number"], page.mark ? ["growth", "number"] : null, ["state"], ["waiting"], ["place"]].filter(Boolean);
  const { findings, death, warnings } = doc.summary;
  const shown = groups.reduce((sum, group) => sum + group.count, doc.more_goroutines);
  const more = doc.more_groups ? el("p", { class: "dim" }, `${count(doc.more_groups)} smaller groups with ${count(doc.more_goroutines)} goroutines are not shown.`) : null;
  return [
    death ? el("p", { class: "finding" }, `It died: ${death.headline}`, death.goroutine_id === null ? null : ` (goroutine ${death.goroutine_id})`) : null,
    ...findings.map((finding) => el("p", { class: "finding" }, finding.message)),
    ...warnings.map((warning) => el("p", { class: "dim" }, `warning: ${warning.message}`)),
    el("p", { class: "dim" }, `${count(shown)} goroutines in ${count(groups.length + doc.more_groups)} groups`),
    table(heads, rows), more];
}

function open(at) {
  page.at = at;
  page.open = page.shown[at] || null;
  draw();
  const row = document.querySelector("tr[aria-selected=true]");
  if (row) row.scrollIntoView({ block: "nearest" });
}

function frameItem(at) {
  const [name, file] = page.doc.frames[at];
  return el("li", {}, name, el("span", { class: "file" }, file));
}

function drawDetail() {
  const group = page.tab === "groups" ? page.open : null;
  $("detail").hidden = !group;
  if (!group) return;
  const ids = group.ids.join(", ") + (group.count > group.ids.length ? ", …" : "");
  $("detail").replaceChildren(...[
    el("button", { type: "button", class: "close", "aria-label": "Close", onclick: close }, "×"),
    el("h2", {}, group.count === 1 ? `Goroutine ${ids}` : `${count(group.count)} goroutines`),
    el("dl", {}, ...[
      ["state", group.state], ["waiting", waited(group.wait)], ["on", group.on], ["ids", group.count === 1 ? null : ids],
    ].filter(([, value]) => value).flatMap(([key, value]) => [el("dt", {}, key), el("dd", {}, value)])),
    el("ol", { class: "stack" },
      group.why ? el("li", { class: "dim" }, group.why) : null,
      ...group.stack.toReversed().map(frameItem)),
    group.creator === null ? null : el("h2", {}, "created by"),
    group.creator === null ? null : el("ol", { class: "stack" }, frameItem(group.creator)),
  ].filter(Boolean));
}

function close() {
  page.open = null;
  page.at = -1;
  draw();
}

// ---- flame graph ----

function tree(doc) {
  const root = { name: "all", weight: 0, below: new Map() };
  for (const group of visible()) {
    const weight = page.weight === "count" ? group.count : group.waited_ns;
    if (!weight) continue;
    let node = root;
    root.weight += weight;
    const frames = group.stack.map((at) => doc.frames[at][0]);
    for (const name of [...frames, group.why || `[${group.state}]`]) {
      if (!node.below.has(name)) node.below.set(name, { name, weight: 0, below: new Map() });
      node = node.below.get(name);
      node.weight += weight;
    }
  }
  return root;
}

function hue(name) {
  const end = name.indexOf(".", name.lastIndexOf("/") + 1);
  let sum = 0;
  for (const c of end > 0 ? name.slice(0, end) : name) sum = (sum * 31 + c.codePointAt(0)) >>> 0;
  return name.startsWith("[") ? "#c8ccd2" : `hsl(${sum % 360} 55% 72%)`;
}

function drawFlame(doc) {
  const root = tree(doc);
  const words = (weight) => page.weight === "count" ? count(weight) : duration(weight);
  const choose = (weight, text) => el("button", { type: "button", "aria-pressed": String(page.weight === weight), onclick: () => { page.weight = weight; page.zoom = []; draw(); } }, text);
  let top = root;
  for (const name of page.zoom) top = top.below.get(name) || top;
  const rows = [];
  const cell = (node, path, share, isAbove) => el("button", {
    type: "button", class: "cell", title: `${node.name}\n${words(node.weight)} of ${words(root.weight)}`,
    style: { flex: `${share} 1 0`, background: hue(node.name), opacity: isAbove ? ".6" : "1" },
    onclick: () => { page.zoom = path; draw(); },
  }, share > 0.02 ? node.name : "");
  const above = [root];
  for (const name of page.zoom) { const next = above.at(-1).below.get(name); if (next) above.push(next); }
  above.forEach((node, at) => rows.push(el("div", { class: "row" }, cell(node, page.zoom.slice(0, at), 1, at < above.length - 1))));
  // Each level: cells in the order of their parents, with gaps where a parent has no more below.
  let level = [{ node: top, path: page.zoom }];
  const all = top.weight || 1;
  for (let depth = 0; depth < 200; depth += 1) {
    const next = [];
    const cells = [];
    let any = false;
    for (const { node, path, gap } of level) {
      if (gap) { next.push({ gap }); cells.push(el("span", { class: "gap", style: { flex: `${gap} 1 0` } })); continue; }
      let left = node.weight;
      for (const below of [...node.below.values()].sort((a, b) => b.weight - a.weight)) {
        const share = below.weight / all;
        if (share < 0.002) continue;
        left -= below.weight;
        any = true;
        const to = [...path, below.name];
        next.push({ node: below, path: to });
        cells.push(cell(below, to, share, false));
      }
      if (left > 0) { next.push({ gap: left / all }); cells.push(el("span", { class: "gap", style: { flex: `${left / all} 1 0` } })); }
    }
    if (!any) break;
    rows.push(el("div", { class: "row" }, ...cells));
    level = next;
  }
  return [
    el("p", {}, "Width: ", choose("count", "goroutines"), " ", choose("wait", "time waited"), " ", el("span", { class: "dim" }, page.weight === "wait" ? "known waits only, each at least" : "click a frame to enlarge it")),
    el("div", { class: "flame" }, ...rows)];
}

// ---- waits ----

function drawWaits(doc) {
  const { nodes, edges, left_out } = doc.waits;
  if (!nodes.length) return [el("p", { class: "dim" }, "No goroutine is known to wait on anything.")];
  const line = 16, pad = 8, gutter = 200, character = 7.3, most = 56;
  const cut = (text) => text.length > most ? `${text.slice(0, most - 1)}…` : text;
  const columns = [nodes.filter((node) => node.kind === "goroutines"), nodes.filter((node) => node.kind !== "goroutines")];
  const places = new Map();
  let x = pad, height = 0;
  for (const column of columns) {
    const width = Math.max(80, ...column.flatMap((node) => node.label.map((text) => cut(text).length * character))) + 2 * pad;
    let y = pad;
    for (const node of column) {
      const tall = Math.max(1, node.label.length) * line + 2 * pad;
      places.set(node.id, { x, y, width, tall });
      y += tall + 2 * pad;
    }
    height = Math.max(height, y);
    x += width + gutter;
  }
  const width = x - gutter + pad;
  const drawing = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Waits" });
  for (const edge of edges) {
    const [from, to] = [places.get(edge.from), places.get(edge.to)];
    if (!from || !to) continue;
    const isHold = edge.kind !== "waits";
    const [left, right] = isHold ? [to, from] : [from, to];
    const shift = isHold ? 5 : -3;
    const [x1, y1, x2, y2] = [left.x + left.width, left.y + left.tall / 2 + shift, right.x, right.y + right.tall / 2 + shift];
    const middle = (x1 + x2) / 2;
    const path = svg("path", { d: `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`, class: `${isHold ? "hold" : ""} ${edge.in_cycle ? "cycle" : ""}` });
    path.append(svg("title", {}, isHold ? "likely holds" : `${count(edge.count)} wait`));
    drawing.append(path);
  }
  for (const node of nodes) {
    const at = places.get(node.id);
    drawing.append(svg("rect", { x: at.x, y: at.y, width: at.width, height: at.tall, rx: node.kind === "goroutines" ? 3 : 14, class: node.in_cycle ? "node cycle" : "node" }));
    node.label.forEach((text, row) => drawing.append(svg("text", { x: at.x + pad, y: at.y + pad + row * line + 12 }, cut(text))));
  }
  const cycles = nodes.filter((node) => node.in_cycle).length;
  return [
    cycles ? el("p", { class: "finding" }, "A likely deadlock is drawn in red.") : null,
    el("p", { class: "dim" }, "Goroutines on the left, what they wait on on the right. Dashed: the likely holder.", left_out ? ` ${count(left_out)} objects are not shown.` : ""),
    drawing];
}

// ---- scheduler, heap ----

function facts(pairs) {
  return el("dl", {}, ...pairs.filter(([, value]) => value !== null && value !== undefined).flatMap(([key, value]) => [el("dt", {}, key), el("dd", {}, String(value))]));
}

function bars(counts) {
  const entries = Object.entries(counts).sort((a, b) => b[1] - a[1]);
  const most = Math.max(1, ...entries.map(([, n]) => n));
  return el("div", { class: "bars" }, ...entries.flatMap(([name, n]) => [el("span", {}, name), el("span", { class: "bar", style: { width: `${Math.max(0.5, 100 * n / most)}%` } }), el("span", {}, count(n))]));
}

function drawSched(doc) {
  const { sched, goroutines, processors, threads, target } = doc.summary;
  const number = (value) => el("td", { class: "number" }, value === null || value === undefined ? "" : count(value));
  const id = (value) => el("td", { class: "number" }, value === null || value === undefined ? "" : String(value));
  const ps = processors.map((p) => el("tr", {}, id(p.id), el("td", {}, p.status), id(p.m_id), id(p.goroutine_id), number(p.run_queue), number(p.timers), number(p.schedtick)));
  const ms = threads.map((m) => el("tr", {}, id(m.id), id(m.thread_id), el("td", {}, m.state || ""), id(m.goroutine_id), id(m.p_id), el("td", {}, [m.spinning && "spinning", m.in_cgo && "in cgo", m.sysmon && "sysmon"].filter(Boolean).join(", "))));
  return [
    el("div", { class: "columns" },
      el("section", {}, el("h2", {}, "By state"), bars(goroutines.by_state)),
      el("section", {}, el("h2", {}, "Waiting for"), bars(goroutines.by_wait_reason)),
      sched ? el("section", {}, el("h2", {}, "Scheduler"), facts([
        ["threads (Ms)", `${count(sched.threads)}, ${count(sched.idle_threads)} idle`], ["processors (Ps)", `${count(target.gomaxprocs)}, ${count(sched.idle_processors)} idle`],
        ["global run queue", count(sched.global_run_queue)], ["goroutines created", count(sched.goroutines_created)]])) : null),
    el("h2", {}, "Ps"), table([["P", "number"], ["status"], ["M", "number"], ["goroutine", "number"], ["run queue", "number"], ["timers", "number"], ["schedtick", "number"]], ps, true),
    el("h2", {}, "Ms"), table([["M", "number"], ["thread", "number"], ["state"], ["goroutine", "number"], ["P", "number"], [""]], ms, true)];
}

function chart(title, lines, words) {
  const points = page.history;
  const values = points.flatMap((point) => lines.map(([key]) => point[key])).filter((value) => value !== null && value !== undefined);
  if (points.length < 2 || !values.length) return null;
  const width = 640, height = 140, most = Math.max(...values) || 1;
  const [from, to] = [points[0].at, points.at(-1).at];
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height + 18}`, width: "100%", role: "img", "aria-label": title });
  drawing.append(svg("line", { x1: 0, x2: width, y1: height, y2: height, class: "grid" }));
  lines.forEach(([key, , dash], at) => {
    const known = points.filter((point) => point[key] !== null && point[key] !== undefined);
    const line = known.map((point) => `${((point.at - from) / (to - from || 1)) * width},${height - (point[key] / most) * (height - 8)}`).join(" ");
    drawing.append(svg("polyline", { points: line, "stroke-dasharray": dash || "none", "stroke-opacity": at ? ".6" : "1" }));
  });
  drawing.append(svg("text", { x: 0, y: height + 14 }, `${duration((to - from) * 1e6)} · at most ${words(most)} · ${lines.map(([, name]) => name).join(", ")}`));
  return el("section", {}, el("h2", {}, title), drawing);
}

function drawHeap(doc) {
  const { heap, gc } = doc.summary;
  if (!heap) return [el("p", { class: "dim" }, "The figures of the heap could not be read.")];
  const pauses = gc ? gc.recent_pauses.slice(0, 5).map((pause) => duration(pause.duration_ns)).join(", ") : null;
  return [
    el("div", { class: "columns" },
      chart("Heap", [["alloc", "allocated"], ["goal", "goal", "5 4"]], bytes), chart("Goroutines", [["goroutines", "goroutines"]], count)),
    page.history.length < 2 && !embedded ? el("p", { class: "dim" }, "Live draws the heap over time.") : null,
    el("div", { class: "columns" },
      el("section", {}, el("h2", {}, "Heap"), facts([["allocated", bytes(heap.alloc_bytes)], ["objects", count(heap.objects)], ["live after the latest GC", bytes(heap.live_bytes)],
        ["in use", bytes(heap.heap_inuse_bytes)], ["idle", bytes(heap.heap_idle_bytes)], ["released", bytes(heap.heap_released_bytes)], ["stacks", bytes(heap.stack_inuse_bytes)],
        ["from the OS", bytes(heap.sys_bytes)], ["allocated since start", bytes(heap.total_alloc_bytes)]])),
      gc ? el("section", {}, el("h2", {}, "Garbage collector"), facts([["cycles", count(gc.cycles)], ["forced", count(gc.forced_cycles)], ["next goal", gc.next_goal_bytes === null ? "none" : bytes(gc.next_goal_bytes)],
        ["phase", gc.phase], ["pauses in total", duration(gc.pause_total_ns)], ["latest pauses", pauses],
        ["share of CPU", gc.cpu_fraction === null ? null : `${(100 * gc.cpu_fraction).toPrecision(2)} %`], ["GOGC", gc.gc_percent], ["memory limit", gc.memory_limit_bytes === null ? null : bytes(gc.memory_limit_bytes)]])) : null)];
}

// ---- hands ----

function toggleMark() {
  page.mark = page.mark ? null : new Map(page.doc.groups.map((group) => [group.key, group.count]));
  draw();
}

function move(by) {
  if (page.tab !== "groups" || !page.shown) return;
  page.at = Math.max(0, Math.min(page.shown.length - 1, page.at + by));
  if (page.open) page.open = page.shown[page.at];
  draw();
  const row = document.querySelector("tr[aria-selected=true]");
  if (row) row.scrollIntoView({ block: "nearest" });
}

function help() {
  $("keys").replaceChildren(el("h2", {}, "Keys"), el("dl", {}, ...(embedded ? KEYS : [...KEYS, ...LIVE_KEYS]).flatMap(([key, text]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, text)])));
  $("keys").showModal();
}

function reload() {
  if (page.source) { stopLive(); startLive(); }
  if (embedded) draw(); else load();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  if (event.target instanceof HTMLInputElement && event.target.type !== "checkbox") {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (!page.doc) return;
  const tab = TABS[Number(event.key) - 1];
  const hands = { "/": () => $("filter").focus(), j: () => move(1), ArrowDown: () => move(1), k: () => move(-1), ArrowUp: () => move(-1), m: () => embedded || toggleMark(),
    l: () => (page.source ? stopLive() : startLive()), r: reload, s: () => $("system").click(), "?": help, Escape: close,
    Enter: () => { if (page.at >= 0 && event.target === document.body || event.target === $("main")) open(page.at); else return false; return true; } };
  const hand = tab ? () => show(tab[0]) : hands[event.key];
  if (hand && hand() !== false) event.preventDefault();
});
$("filter").addEventListener("change", reload);
if (embedded) $("filter").addEventListener("input", () => draw());
$("system").addEventListener("change", () => draw());
$("mark").addEventListener("click", toggleMark);
$("live").addEventListener("click", () => (page.source ? stopLive() : startLive()));
$("help").addEventListener("click", help);
$("home").addEventListener("click", (event) => { if (embedded) event.preventDefault(); });
window.addEventListener("hashchange", route);
$("tools").hidden = true;
if (embedded) take(JSON.parse(embedded.textContent)); else route();
