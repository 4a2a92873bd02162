// The waterfall as something to work with: fold and unfold, find, zoom, and what is known of the step that was
// clicked. It draws the rows that can be seen, however many there are; without it the server's rows are there.

import { amount, seconds } from "./times.js";

const ROW = 24; // px, as in the style sheet
const MOST_HIGH = 30; // rows, before they scroll
const SVG = "http://www.w3.org/2000/svg";
const HISTORY = 200; // runs of a step that its place is told among
const LEAST_HISTORY = 5; // other runs, to say where one stands among them
const LEAST_OTHER = 0.0005; // of the run, to have a row

export function begin(root) {
  new Waterfall(root);
}

async function ask(path) {
  try {
    const answer = await fetch(path);
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

function element(name, attributes = {}, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== null && value !== false) made.setAttribute(key, value);
  }
  made.append(...content.filter((each) => each !== null));
  return made;
}

/** What the page wrote of a bar, see `drawing.tree`; here in seconds. */
function barOf([seq, from, took, path = 0, status = "", soFar = "", waits = []]) {
  const [start, end] = [from / 1e6, (from + took) / 1e6];
  const inSeconds = (parts) => parts.map(([first, last]) => [first / 1e6, last / 1e6]);
  const critical = path === 1 ? [[start, end]] : inSeconds(path || []);
  return { seq, start, end, critical, failed: status === "failed", soFar, waits: inSeconds(waits) };
}

/** Rows with their children: a row of several steps can be unfolded into one of each. */
function treeOf(rows) {
  const roots = [];
  const above = [];
  let last = null;
  for (const [label, depth, count, busy, critical, written] of rows) {
    const bars = written.map(barOf);
    if (!count) { // a further lane of the same steps
      last?.lanes.push(bars);
      continue;
    }
    last = { label, depth, count, busy, critical, lanes: [bars], children: [], open: true };
    above.length = Math.min(above.length, depth);
    (above.at(-1)?.children ?? roots).push(last);
    above[depth] = last;
  }
  return roots;
}

class Waterfall {
  constructor(root) {
    this.root = root;
    this.tools = document.getElementById("tools");
    this.drawer = document.getElementById("drawer");
    this.part = (id) => document.getElementById(id);
    this.drawn = new WeakMap(); // groups of shapes, with their bars
    this.take();
    this.whole();
    this.view = element("div", { class: "view", tabindex: "0", role: "group", "aria-label": "Steps of this run" });
    this.scale = element("div", { class: "scale axis" });
    root.append(
      element("div", { class: "line heads" }, element("span", {}, "step"), this.scale,
        element("span", { class: "num" }, "busy"), element("span", { class: "num" }, "critical")),
      this.view,
    );
    this.space = element("div", { class: "space" });
    this.view.append(this.space);
    this.listen();
    this.lay();
    this.follow();
  }

  /** Read what the page wrote of every row. */
  take() {
    const { wall_s: wall, other_s: outside, other, rows } = JSON.parse(this.part("tree-rows").textContent);
    this.wall = wall || 1;
    this.roots = treeOf(rows);
    this.outside = outside / this.wall < LEAST_OTHER ? null : {
      label: "Other", depth: 0, count: 1, busy: outside, critical: outside, children: [], outside: true,
      lanes: [other.map(([start, end]) => barOf([null, start, end - start]))],
    };
    this.names = new Map();
    const walk = (nodes) => nodes.forEach((node) => {
      for (const bar of node.lanes.flat()) this.names.set(bar.seq, node.label);
      walk(node.children);
    });
    walk(this.roots);
    this.details = null;
  }

  /** Ask once for what is known of every step: most who look at a run choose none. */
  ask() {
    this.details ??= ask(`/api/v1/sessions/${encodeURIComponent(this.root.dataset.session)}?explain=false`);
    return this.details;
  }

  listen() {
    this.view.addEventListener("scroll", () => this.draw());
    new ResizeObserver(() => {
      if (this.view.clientHeight !== this.high) this.draw(); // it tells of the height at the beginning, too
    }).observe(this.view);
    this.view.addEventListener("pointerover", (event) => this.name(event.target.closest("g")));
    this.part("find").addEventListener("input", () => this.lay());
    this.part("find").addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.target.value = "";
      event.target.blur();
      this.lay();
    });
    this.part("only-critical").addEventListener("change", () => this.lay());
    this.part("fold").addEventListener("click", () => this.foldAll());
    this.part("whole").addEventListener("click", () => {
      this.whole();
      this.draw();
    });
    this.view.addEventListener("click", (event) => this.clicked(event));
    this.view.addEventListener("keydown", (event) => this.pressed(event));
    this.zoomBy(this.part("minimap"));
    addEventListener("hashchange", () => this.follow());
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !this.drawer.hidden) this.close();
    });
    document.addEventListener("perfdb:refreshed", () => {
      const isWhole = this.right - this.left >= this.wall * 0.999;
      this.take();
      if (isWhole) this.whole();
      this.lay();
    });
  }

  whole() {
    this.left = 0;
    this.right = this.wall;
  }

  /** Decide which rows there are: what is open, fits the search, and is on the path if that is asked. */
  lay() {
    const word = this.part("find").value.trim().toLowerCase();
    const critical = this.part("only-critical").checked;
    this.rows = [];
    let found = 0;
    const walk = (nodes, before) => {
      const shown = nodes.filter((node) => !critical || node.critical > 0);
      const rows = [];
      for (const [place, node] of shown.entries()) {
        const isLast = place === shown.length - 1;
        const hit = !word || node.label.toLowerCase().includes(word);
        const kept = this.rows.length;
        this.rows.push({ node, guide: node.depth ? before + (isLast ? "└ " : "├ ") : "", first: true, bars: node.lanes[0] });
        const inside = before + (node.depth ? (isLast ? "  " : "│ ") : "");
        if (node.single) {
          for (const bar of node.lanes.flat()) {
            this.rows.push({ node, bar, guide: `${inside}  · `, bars: [bar] });
          }
        } else {
          for (const bars of node.lanes.slice(1)) this.rows.push({ node, guide: inside, bars });
        }
        const within = node.open || word ? walk(node.children, inside) : false;
        if (!hit && !within) this.rows.length = kept;
        else rows.push(node);
        if (hit && word) found += node.count;
      }
      return rows.length > 0;
    };
    walk(this.roots, "");
    if (this.outside && !word) this.rows.push({ node: this.outside, guide: "", first: true, bars: this.outside.lanes[0] });
    this.part("found").textContent = word ? `${found} steps found` : "";
    this.view.style.setProperty("--high", `${ROW * Math.min(Math.max(this.rows.length, 1), MOST_HIGH)}px`);
    this.space.style.setProperty("--high", `${ROW * this.rows.length}px`);
    this.draw();
  }

  /** Draw the rows that can be seen, and a few around them. */
  draw() {
    this.high = this.view.clientHeight;
    const first = Math.max(0, Math.floor(this.view.scrollTop / ROW) - 5);
    const last = Math.min(this.rows.length, first + Math.ceil(this.high / ROW) + 12);
    const focused = document.activeElement?.closest?.(".line")?.dataset.place;
    this.space.replaceChildren(...this.rows.slice(first, last).map((row, place) => this.line(row, first + place)));
    if (focused) this.space.querySelector(`[data-place="${focused}"] button`)?.focus({ preventScroll: true });
    const middle = (this.left + this.right) / 2;
    this.scale.replaceChildren(...[this.left, middle, this.right].map((at) => element("span", {}, at ? seconds(at) : "0")));
    this.part("whole").disabled = this.right - this.left >= this.wall * 0.999;
  }

  line(row, place) {
    const { node } = row;
    const name = element("span", { class: "name", title: node.label });
    name.append(element("span", { class: "guide", "aria-hidden": "true" }, row.guide));
    if (row.bar) {
      name.append(this.stepButton(row.bar.seq, seconds(row.bar.end - row.bar.start)));
    } else if (node.outside) {
      name.title = "Time outside of steps";
      name.append(element("span", { class: "faint" }, node.label));
    } else if (row.first) {
      if (node.children.length) {
        name.append(element("button", {
          type: "button", class: "twig", "data-fold": "children", "aria-expanded": String(node.open),
          "aria-label": `${node.open ? "Fold" : "Unfold"} ${node.label}`,
        }, node.open ? "▾" : "▸"));
      }
      name.append(this.stepButton(node.lanes[0][0]?.seq, node.label));
      if (node.count > 1) {
        name.append(element("button", {
          type: "button", class: "twig", "data-fold": "single", "aria-expanded": String(Boolean(node.single)),
          title: "One row for each",
        }, `× ${node.count.toLocaleString("en")}`));
      }
      if (node.lanes.flat().some((bar) => bar.failed)) name.append(element("span", { class: "bad" }, " ✗"));
      const open = node.lanes.flat().findLast((bar) => bar.soFar);
      if (open) name.append(element("span", { class: "note" }, ` ${open.soFar}`));
    }
    const bars = this.bars(row.bar || row.first || !node.single ? row.bars : []);
    const counts = row.first ? [seconds(node.busy), share(node.critical, this.wall)] : ["", ""];
    const line = element("div", { class: "line", "data-place": place }, name, bars,
      element("span", { class: "num" }, counts[0]), element("span", { class: "num faint" }, counts[1]));
    line.style.setProperty("--top", `${place * ROW}px`);
    return line;
  }

  stepButton(seq, words) {
    return element("button", { type: "button", class: "pick", "data-seq": seq ?? null }, words);
  }

  bars(drawn) {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "bar");
    svg.setAttribute("viewBox", "0 0 1000 20");
    svg.setAttribute("preserveAspectRatio", "none");
    const unit = 1000 / (this.right - this.left);
    const rectangle = (kind, start, end, inset = 1) => {
      const left = Math.max(0, (start - this.left) * unit);
      const right = Math.min(1000, Math.max((end - this.left) * unit, left + 1.5));
      if (right <= 0 || left >= 1000) return null;
      const made = document.createElementNS(SVG, "rect");
      for (const [key, value] of Object.entries({ class: kind, x: left, y: inset, width: right - left, height: 20 - 2 * inset })) {
        made.setAttribute(key, value);
      }
      return made;
    };
    for (const bar of drawn) {
      if (bar.end < this.left || bar.start > this.right) continue;
      const group = document.createElementNS(SVG, "g");
      if (bar.failed) group.setAttribute("class", "failed");
      else if (bar.soFar) group.setAttribute("class", "open");
      if (bar.seq !== null) group.dataset.seq = bar.seq;
      this.drawn.set(group, bar);
      group.append(...[
        bar.seq === null ? rectangle("none", bar.start, bar.end, 4) : rectangle("beside", bar.start, bar.end),
        ...bar.critical.map(([start, end]) => rectangle("critical", start, end)),
        ...bar.waits.map(([start, end]) => rectangle("wait", start, end, 5.5)),
      ].filter(Boolean));
      svg.append(group);
    }
    return svg;
  }

  /** Give a bar the words that hovering shows: of thousands few are hovered over. */
  name(group) {
    if (!group || group.firstChild.nodeName === "title") return;
    const bar = this.drawn.get(group);
    const took = bar.soFar || seconds(bar.end - bar.start);
    const title = document.createElementNS(SVG, "title");
    title.textContent = `${this.names.get(bar.seq) ?? "Outside of steps"}: ${took}, after ${seconds(bar.start)}`;
    group.prepend(title);
  }

  clicked(event) {
    const fold = event.target.closest("[data-fold]");
    if (fold) return this.fold(Number(fold.closest(".line").dataset.place), fold.dataset.fold);
    const row = this.rows[event.target.closest(".line")?.dataset.place]; // a bar may be too thin to be hit
    const seq = event.target.closest("[data-seq]")?.dataset.seq ?? row?.bars[0]?.seq ?? null;
    if (seq !== null) this.choose(Number(seq));
  }

  fold(place, what) {
    const { node } = this.rows[place];
    if (what === "single") node.single = !node.single;
    else node.open = !node.open;
    this.lay();
  }

  foldAll() {
    const isOpen = this.roots.some((node) => node.open && node.children.length);
    const walk = (nodes) => nodes.forEach((node) => {
      node.open = !isOpen;
      walk(node.children);
    });
    walk(this.roots);
    this.part("fold").textContent = isOpen ? "Unfold all" : "Fold all";
    this.lay();
  }

  /** Arrows go through the rows; left folds, right unfolds. */
  pressed(event) {
    const line = event.target.closest(".line");
    const place = line ? Number(line.dataset.place) : -1;
    const steps = { ArrowDown: 1, ArrowUp: -1 };
    if (event.key in steps) {
      const next = Math.max(0, Math.min(this.rows.length - 1, place + steps[event.key]));
      this.show(next);
      this.space.querySelector(`[data-place="${next}"] .pick`)?.focus({ preventScroll: true });
    } else if ((event.key === "ArrowLeft" || event.key === "ArrowRight") && place >= 0) {
      this.rows[place].node.open = event.key === "ArrowRight";
      this.lay();
    } else return;
    event.preventDefault();
  }

  show(place) {
    const top = place * ROW;
    const { scrollTop, clientHeight } = this.view;
    if (top < scrollTop || top + ROW > scrollTop + clientHeight) this.view.scrollTop = top - clientHeight / 2;
    this.draw();
  }

  zoomBy(map) {
    let from = null;
    const box = element("div", { class: "chosen", hidden: true });
    map.append(box);
    const at = (event) => {
      const { left, width } = map.getBoundingClientRect();
      return Math.max(0, Math.min(1, (event.clientX - left) / width));
    };
    const mark = (one, other) => {
      box.hidden = false;
      box.style.setProperty("--from", `${100 * Math.min(one, other)}%`);
      box.style.setProperty("--wide", `${100 * Math.abs(other - one)}%`);
    };
    map.addEventListener("pointerdown", (event) => {
      from = at(event);
      map.setPointerCapture(event.pointerId);
    });
    map.addEventListener("pointermove", (event) => {
      if (from !== null) mark(from, at(event));
    });
    map.addEventListener("pointerup", (event) => {
      if (from === null) return;
      const [one, other] = [from, at(event)].sort((a, b) => a - b);
      from = null;
      if (other - one < 0.005) this.whole();
      else [this.left, this.right] = [one * this.wall, other * this.wall];
      box.hidden = other - one < 0.005;
      this.draw();
    });
    this.part("whole").addEventListener("click", () => { box.hidden = true; });
  }

  /** Open the step that the address names. */
  follow() {
    const seq = Number(/^#step-(\d+)$/.exec(location.hash)?.[1] ?? NaN);
    if (this.names.has(seq)) this.choose(seq);
  }

  choose(seq) {
    if (location.hash !== `#step-${seq}`) history.replaceState(history.state, "", `#step-${seq}`);
    const place = this.rows.findIndex((row) => row.bars.some((bar) => bar.seq === seq));
    if (place >= 0) this.show(place);
    this.tell(seq);
  }

  close() {
    this.drawer.hidden = true;
    history.replaceState(history.state, "", location.pathname + location.search);
    this.view.focus({ preventScroll: true });
  }

  async tell(seq) {
    this.told = seq;
    const close = element("button", { type: "button", "aria-label": "Close" }, "×");
    close.addEventListener("click", () => this.close());
    const heading = element("header", {}, element("h2", {}, this.names.get(seq)), close);
    const waiting = element("p", { class: "note" }, "…");
    this.drawer.replaceChildren(heading, waiting);
    this.drawer.hidden = false;
    this.drawer.focus({ preventScroll: true });
    const answer = await this.ask();
    if (this.told !== seq) return; // another one was chosen meanwhile
    const step = answer?.steps.find((each) => each.seq === seq);
    if (!step) {
      waiting.textContent = "The server did not tell more of it; choose it again.";
      this.details = null;
      return;
    }
    const { session } = answer;
    const facts = element("dl", { class: "facts" });
    const fact = (name, value) => {
      if (value !== null && value !== undefined && value !== "") facts.append(element("dt", {}, name), element("dd", {}, value));
    };
    fact("took", step.duration === null ? "has not ended" : seconds(step.duration));
    fact("began after", seconds(Math.max(0, step.start_time - session.start_time)));
    fact("held the run up for", step.critical_s ? `${seconds(step.critical_s)} (${share(step.critical_s, this.wall)})` : "–");
    fact("status", step.status);
    fact("error", step.error_message);
    if (step.cpu_s !== null && step.cpu_s !== undefined) fact("CPU", seconds(step.cpu_s));
    if (step.rss_peak_bytes) fact("peak memory", amount(step.rss_peak_bytes, "bytes"));
    if (step.lane) fact("lane", String(step.lane));
    for (const [place, each] of (step.attempts ?? []).entries()) {
      const waited = each.wait ? `waited ${seconds(each.wait)}, then ` : "";
      fact(`try ${place + 1}`, `${waited}${seconds(each.duration)}${each.success ? "" : `, failed: ${each.error_message ?? ""}`}`);
    }
    for (const each of step.events ?? []) {
      fact(seconds(each.time - session.start_time), `${each.name} ${Object.keys(each.data).length ? JSON.stringify(each.data) : ""}`);
    }
    for (const [name, value] of Object.entries(step.additional_data ?? {})) {
      fact(name, typeof value === "string" ? value : JSON.stringify(value));
    }
    const past = element("div", { class: "past note" }, "…");
    const trend = new URLSearchParams({ pipeline: session.pipeline, step: step.step_name, mode: session.mode });
    this.drawer.replaceChildren(
      heading, facts, past,
      element("p", {}, element("a", { class: "button", href: `/trends?${trend}` }, "Trend of this step"), " ",
        element("a", { class: "button", href: `#step-${step.seq}` }, "Link to it")),
    );
    this.history(step, session.session_id, trend, past);
  }

  /** Say where this run of the step stands among its last ones. */
  async history(step, sessionId, trend, past) {
    const found = await ask(`/api/v1/trends?${trend}&last=${HISTORY}`);
    if (!found?.points.of || step.duration === null) {
      past.textContent = "";
      return;
    }
    const { duration, failed, session_id: ids } = found.points;
    const own = ids.map((id) => id === sessionId);
    const others = duration.filter((_, place) => !failed[place] && !own[place]);
    if (others.length < LEAST_HISTORY) {
      past.textContent = others.length
        ? `It ran in ${others.length} other session${others.length > 1 ? "s" : ""}: too few to say what is usual.`
        : "It ran in no other session.";
      return;
    }
    const shorter = others.filter((value) => value < step.duration).length;
    past.textContent = `Longer than ${Math.round((100 * shorter) / others.length)} % of its last ${others.length} other runs; `
      + `their median is ${found.p50 === null ? "–" : seconds(found.p50)}${found.p95 === null ? "" : `, their p95 ${seconds(found.p95)}`}.`;
    past.textContent = past.textContent.replace(/(?<=\d) (?=(?:[mµ]?s|min|h|%)(?!\w))/g, "\u00a0");
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "plot low");
    svg.setAttribute("viewBox", "0 0 1000 100");
    svg.setAttribute("preserveAspectRatio", "none");
    const top = Math.max(...duration, step.duration) * 1.05 || 1;
    duration.forEach((value, place) => {
      const dot = document.createElementNS(SVG, "path");
      const isThis = own[place] && value === step.duration;
      dot.setAttribute("class", isThis ? "dot this" : failed[place] ? "dot failed" : "dot");
      dot.setAttribute("d", `M${(1000 * (place + 0.5)) / duration.length} ${100 - (100 * value) / top}h0`);
      svg.append(dot);
    });
    past.append(svg);
  }
}

function share(part, whole) {
  return part > 0 && whole > 0 ? `${((100 * part) / whole).toFixed(1)} %` : "–";
}
