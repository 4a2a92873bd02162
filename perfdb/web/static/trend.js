// A series over time: runs as dots with a ribbon of the usual, or periods as bands; what happened as upright
// lines. A zoom is a window in the address: the page, its figures and other pages follow it.

import { refresh } from "./live.js";
import { amount, shortTime } from "./times.js";

const LONE = 1800; // seconds on both sides of the only run
const LANES = 3; // of labels above the runs; what finds no room is told by the pointer
const LANE = 15; // px

export async function begin(root) {
  const [trend] = await Promise.all([ask(root.dataset.source), script("./vendor/uPlot.iife.min.js")]);
  if (!trend || !trend.points.of) return;
  const chart = draw(root, trend);
  document.addEventListener("perfdb:refreshed", async () => {
    const fresh = await ask(sourceOf(root));
    if (fresh?.points.of) chart.show(fresh);
  });
  new ResizeObserver(() => chart.plot.setSize(sizeOf(root))).observe(root);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chart.plot.redraw(false));
}

function script(path) {
  return new Promise((done, failed) => {
    const element = document.createElement("script");
    Object.assign(element, { src: new URL(path, import.meta.url), onload: done, onerror: failed });
    document.head.append(element);
  });
}

async function ask(source) {
  try {
    const answer = await fetch(source);
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

/** Where the data of the window in the address are. */
function sourceOf(root) {
  const source = new URL(root.dataset.source, location.origin);
  const zoomed = history.state?.zoom;
  if (!zoomed) return source;
  source.searchParams.delete("last");
  source.searchParams.set("since", zoomed[0]);
  source.searchParams.set("until", zoomed[1]);
  return source;
}

function sizeOf(root) {
  const style = getComputedStyle(root);
  return { width: Math.floor(parseFloat(style.width)), height: Math.floor(parseFloat(style.height)) };
}

function colour(name) {
  return getComputedStyle(document.body).getPropertyValue(`--${name}`).trim();
}

/** Times, good runs, medians, failed runs, the lower and the upper edge of the area. */
function columnsOf(trend) {
  if (trend.bands.length) {
    const bands = trend.bands;
    const nothing = bands.map(() => null);
    const p50 = bands.map((band) => band.p50);
    const times = bands.map((band) => band.start_time);
    return [times, nothing, p50, nothing, p50, bands.map((band) => band.p95 ?? band.p50)];
  }
  const { start_time: times, duration, failed, median, low, high } = trend.points;
  const good = duration.map((value, place) => (failed[place] ? null : value));
  const bad = duration.map((value, place) => (failed[place] ? value : null));
  return [times, good, median, bad, low, high];
}

function draw(root, first) {
  let trend = first;
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("role", "status");
  const stroke = (name) => () => colour(name);
  const dots = (name, size) => ({
    show: true, size, width: 0, fill: stroke(name), stroke: stroke(name),
  });
  const axis = {
    stroke: stroke("muted"),
    font: "12px system-ui, sans-serif",
    grid: { stroke: stroke("line"), width: 1 },
    ticks: { show: false },
  };
  const lanes = () => Math.min(root.classList.contains("small") ? 1 : LANES, trend.marks.length);
  const gaps = (plot) => [...breaks(plot, trend), ...moves(plot, trend)].sort((a, b) => a[0] - b[0]);
  const edge = { stroke: null, width: 0, points: { show: false }, gaps };
  const options = {
    ...sizeOf(root),
    padding: [() => 8 + LANE * lanes(), null, null, null],
    scales: {
      x: { time: true, range: (plot, low, high) => (alone(plot) ? [low - LONE, low + LONE] : [low, high]) },
      y: { range: (plot, low, high) => [0, isZoomed(plot) ? 1.08 * high : trend.top || 1] },
    },
    legend: { show: false },
    cursor: { drag: { x: true, y: false, setScale: false }, points: { size: 8 }, focus: { prox: 24 } },
    focus: { alpha: 1 },
    axes: [
      { ...axis, space: 80, size: 42, values: days },
      { ...axis, size: 66, values: (plot, ticks) => ticks.map((tick) => (tick ? short(tick, trend.unit) : "0")) },
    ],
    bands: [{ series: [5, 4], fill: () => `color-mix(in srgb, ${colour("second")} 18%, transparent)` }],
    series: [
      {},
      { paths: () => null, points: dots("critical", 5) },
      { stroke: stroke("second"), width: 2, points: { show: false }, gaps },
      { paths: () => null, points: dots("failed", 8) },
      edge,
      { ...edge },
    ],
    hooks: {
      drawClear: [(plot) => outages(plot, trend), (plot) => periodA(plot, brush.first)],
      draw: [(plot) => marks(plot, trend, lanes())],
      setCursor: [(plot) => tell(plot, trend, tip)],
      setSelect: [(plot) => {
        const { left, width, top, height } = plot.select;
        plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
        const over = plot.cursor.drag.y ? plot.posToVal(top + height, "y") : null;
        if (width > 10) chosen([plot.posToVal(left, "x"), plot.posToVal(left + width, "x")], over);
      }],
    },
  };
  const brush = { kind: "zoom", first: null, from: null }; // what dragging does, period A, a beginning by keyboard
  const held = document.createElement("div");
  const plot = new uPlot(options, columnsOf(trend), held);
  plot.over.append(tip);
  root.replaceChildren(held);

  /** Show a part at once, then ask for it: it may have more to show. The address says which part it is. */
  function zoom([from, to]) {
    if (to - from < 1 || alone(plot)) return;
    plot.setScale("x", { min: from, max: to });
    const moments = [from, to].map((moment) => new Date(1000 * moment).toISOString());
    const address = new URL(location.href);
    address.searchParams.delete("last");
    address.searchParams.set("since", moments[0]);
    address.searchParams.set("until", moments[1]);
    history.pushState({ zoom: moments, home: history.state?.home ?? location.href }, "", address);
    refresh();
  }

  /** A part was chosen: look at it, ask what its slow runs share, or hold it against another. */
  function chosen(range, over = null) {
    if (brush.kind === "common") return location.assign(commonOf(trend, range, over));
    if (brush.kind !== "compare") return zoom(range);
    if (!brush.first) {
      brush.first = range;
      plot.redraw(false);
      return told("That is A; now choose B");
    }
    return location.assign(periodsOf(trend, brush.first, range));
  }

  brushes((kind) => {
    Object.assign(brush, { kind, first: null, from: null });
    plot.cursor.drag.y = kind === "common";
    plot.redraw(false);
  });
  document.getElementById("png")?.addEventListener("click", () => savePicture(plot));

  function zoomOut() {
    const home = history.state?.home;
    if (home) location.assign(home);
    else plot.setScale("x", { min: plot.data[0][0], max: plot.data[0].at(-1) });
  }
  addEventListener("popstate", () => location.reload());
  plot.over.addEventListener("dblclick", zoomOut);
  zoomByTouch(plot, chosen, zoomOut);
  const runAt = (place) => (trend.bands.length ? null : trend.points.session_id[place]);
  openOnClick(plot, () => runAt(plot.cursor.idx));
  byKeyboard(root, plot, { zoom, zoomOut, chosen, brush, open: () => openRun(runAt(plot.cursor.idx)) });
  return {
    plot,
    show(fresh) {
      trend = fresh;
      plot.setData(columnsOf(trend), true);
    },
  };
}

/** Arrows go from run to run, Enter opens it, + and − zoom, 0 shows all again, [ and ] choose a part. */
function byKeyboard(root, plot, { zoom, zoomOut, chosen, brush, open }) {
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const times = plot.data[0];
    const { min, max } = plot.scales.x;
    const place = plot.cursor.idx ?? times.length - 1;
    const steps = { ArrowLeft: -1, ArrowRight: 1 };
    if (event.key in steps) {
      const next = Math.max(0, Math.min(times.length - 1, place + steps[event.key]));
      plot.setCursor({ left: plot.valToPos(times[next], "x"), top: plot.over.clientHeight / 2 });
    } else if (event.key === "+") zoom([times[place] - (max - min) / 4, times[place] + (max - min) / 4]);
    else if (event.key === "-" || event.key === "0" || event.key === "Escape") zoomOut();
    else if (event.key === "Enter") open();
    else if (event.key === "[") brush.from = times[place];
    else if (event.key === "]" && brush.from !== null && times[place] > brush.from) chosen([brush.from, times[place] + 0.001]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
}

/** The buttons that say what dragging does. */
function brushes(choose) {
  const buttons = [...document.querySelectorAll("[data-brush]")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      for (const each of buttons) each.setAttribute("aria-pressed", String(each === button));
      choose(button.dataset.brush);
      told(button.title);
    });
  }
}

function told(words) {
  const place = document.getElementById("brush-said");
  if (place) place.textContent = words;
}

const moment = (epoch) => new Date(1000 * epoch).toISOString();

/** The window that the address has, and what a question about this series needs beside it. */
function question(path, trend, more) {
  const here = new URL(location.href).searchParams;
  const address = new URL(path, location.origin);
  for (const name of ["since", "until", "last"]) if (here.has(name)) address.searchParams.set(name, here.get(name));
  address.searchParams.set("pipeline", trend.series.pipeline);
  address.searchParams.set("mode", trend.series.mode);
  for (const [name, value] of Object.entries(more)) if (value !== null) address.searchParams.set(name, value);
  return address.href;
}

function commonOf(trend, [from, to], over) {
  return question("/common", trend, {
    step: trend.series.step_name, slow_since: moment(from), slow_until: moment(to),
    over: over > 0 ? over.toPrecision(4) : null,
  });
}

function periodsOf(trend, one, other) {
  const [first, second] = one[0] <= other[0] ? [one, other] : [other, one];
  return question("/compare", trend, {
    since: moment(first[0]), split: moment(Math.min(first[1], second[0])),
    resume: moment(second[0]), until: moment(Math.max(first[1], second[1])),
    measure: trend.measure === "duration" ? null : trend.measure,
  });
}

function periodA(plot, range) {
  if (!range) return;
  const { ctx } = plot;
  const [from, to] = range.map((time) => plot.valToPos(time, "x", true));
  ctx.save();
  ctx.fillStyle = colour("accent");
  ctx.globalAlpha = 0.18;
  ctx.fillRect(from, plot.bbox.top, to - from, plot.bbox.height);
  ctx.globalAlpha = 1;
  ctx.font = `600 ${14 * devicePixelRatio}px system-ui, sans-serif`;
  ctx.fillText("A", from + 4 * devicePixelRatio, plot.bbox.top + 16 * devicePixelRatio);
  ctx.restore();
}

/** Save the chart as it is, with what it shows above it. */
function savePicture(plot) {
  const drawn = plot.ctx.canvas;
  const scale = devicePixelRatio;
  const sheet = document.createElement("canvas");
  const head = 44 * scale;
  Object.assign(sheet, { width: drawn.width, height: drawn.height + head });
  const ctx = sheet.getContext("2d");
  ctx.fillStyle = colour("raise");
  ctx.fillRect(0, 0, sheet.width, sheet.height);
  ctx.fillStyle = colour("ink");
  let size = 17;
  const words = document.querySelector("h1").innerText;
  do ctx.font = `600 ${size * scale}px system-ui, sans-serif`;
  while (ctx.measureText(words).width > sheet.width - 20 * scale && (size -= 1) > 8);
  ctx.fillText(words, 10 * scale, 28 * scale, sheet.width - 20 * scale);
  ctx.drawImage(drawn, 0, head);
  const link = document.createElement("a");
  link.download = `${document.title.split(" · ")[0].toLowerCase()}.png`;
  link.href = sheet.toDataURL("image/png");
  link.click();
}

/** Where lines and areas are broken, in pixels: a failed run breaks them not. */
function breaks(plot, trend) {
  return trend.pauses.map((ends) => ends.map((time) => plot.valToPos(time, "x", true)));
}

/** Where the level moved: from the last run before that has a median to the first one since. */
function moves(plot, trend) {
  const [times, , medians] = plot.data;
  const known = times.filter((_, place) => medians[place] !== null && medians[place] !== undefined);
  return trend.changes.flatMap(({ start_time: at }) => {
    const after = known.findIndex((time) => time >= at);
    return after < 1 ? [] : [known.slice(after - 1, after + 1).map((time) => plot.valToPos(time, "x", true))];
  });
}

/** Grey where nothing ran. */
function outages(plot, trend) {
  const { ctx } = plot;
  const { left, top, width, height } = plot.bbox;
  ctx.save();
  ctx.fillStyle = colour("muted");
  ctx.globalAlpha = 0.13;
  for (const [from, to] of breaks(plot, trend)) {
    const begin = Math.max(left, from);
    const end = Math.min(left + width, to);
    if (end > begin) ctx.fillRect(begin, top, end - begin, height);
  }
  ctx.restore();
}

/** Say which run is under the pointer, what it took, and what was usual then. */
function tell(plot, trend, tip) {
  const place = plot.cursor.idx;
  tip.hidden = place === null || place === undefined || plot.cursor.left < 0;
  if (tip.hidden) return;
  const time = plot.data[0][place];
  const took = document.createElement("b");
  const about = [];
  let height;
  if (trend.bands.length) {
    const band = trend.bands[place];
    height = band.p50 ?? 0;
    took.textContent = band.p50 === null ? "–" : amount(band.p50, trend.unit);
    about.push(` median of ${band.n} runs of this ${trend.bands_by}`);
    if (band.p95 !== null) about.push(`p95 ${amount(band.p95, trend.unit)}`);
    if (band.failures) about.push(`${band.failures} failed`);
  } else {
    const { duration, failed, median, session_id: ids } = trend.points;
    height = duration[place];
    took.textContent = amount(duration[place], trend.unit);
    about.push(failed[place] ? " until it failed" : "");
    if (median[place] !== null) about.push(`usually ${amount(median[place], trend.unit)}`);
    about.push(ids[place]);
  }
  about.push(shortTime(time));
  const near = trend.marks.filter((mark) => Math.abs(plot.valToPos(mark.at, "x") - plot.cursor.left) < 6);
  about.push(...near.slice(0, 3).map(words));
  const said = document.createElement("span");
  said.textContent = about.filter(Boolean).join(" · ");
  tip.replaceChildren(took, said);
  const x = plot.valToPos(time, "x");
  const y = Math.max(0, plot.valToPos(height, "y"));
  const wide = tip.offsetWidth;
  const left = x + 14 + wide > plot.over.clientWidth ? Math.max(0, x - 14 - wide) : x + 14;
  tip.style.transform = `translate(${left}px, ${Math.max(0, y - 34)}px)`;
}

function words(mark) {
  const text = mark.kind === "commit" ? mark.text.slice(0, 10) : mark.text;
  return mark.kind === "note" ? text : `${mark.kind} ${text}`;
}

/** Days for long spans, times for short ones; below them the year, or the day, where another one begins. */
function days(plot, ticks, axis, space, step) {
  let last = "";
  return ticks.map((tick) => {
    const said = shortTime(tick);
    const [day, time] = [said.slice(0, -6), said.slice(-5)];
    if (step >= 86400) {
      const year = day.slice(7);
      const dated = year === last ? day.slice(0, 6) : `${day.slice(0, 6)}\n${year}`;
      last = year;
      return dated;
    }
    const seconds = step < 60 ? `:${String(Math.floor(tick) % 60).padStart(2, "0")}` : "";
    const text = `${time}${seconds}${day === last ? "" : `\n${day}`}`;
    last = day;
    return text;
  });
}

/** A tick with its unit, without needless zeros. */
function short(value, unit) {
  return amount(value, unit).replace(/(\.\d*?)0+ s$/, "$1 s").replace(". s", " s");
}

function alone(plot) {
  return plot.data?.[0].length === 1;
}

function isZoomed(plot) {
  if (alone(plot)) return false;
  const { min, max } = plot.scales.x;
  const times = plot.data?.[0];
  return Number.isFinite(min) && times?.length > 0 && (min > times[0] || max < times.at(-1));
}

/** A finger that goes to the right zooms to where it went, one that goes to the left zooms out. */
function zoomByTouch(plot, zoom, zoomOut) {
  const { over } = plot;
  let from = null;
  const place = (event) => event.clientX - over.getBoundingClientRect().left;
  over.addEventListener("pointerdown", (event) => {
    from = event.pointerType === "touch" && event.isPrimary ? place(event) : null;
  });
  over.addEventListener("pointermove", (event) => {
    if (from === null) return;
    const width = Math.max(0, place(event) - from);
    plot.setSelect({ left: from, width, top: 0, height: over.clientHeight }, false);
  });
  over.addEventListener("pointercancel", () => { // the page is scrolled instead
    from = null;
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  });
  over.addEventListener("pointerup", (event) => {
    if (from === null) return;
    const [left, right] = [from, place(event)];
    from = null;
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    if (right - left > 10) zoom([plot.posToVal(left, "x"), plot.posToVal(right, "x")]);
    else if (left - right > 10) zoomOut();
  });
}

/** A click opens the run; the end of a drag is not a click. */
function openOnClick(plot, sessionId) {
  let from = null;
  plot.over.addEventListener("mousedown", (event) => { from = event.clientX; });
  plot.over.addEventListener("click", (event) => {
    if (from === null || Math.abs(event.clientX - from) > 3) return;
    openRun(sessionId());
  });
}

function openRun(sessionId) {
  if (!sessionId) return;
  const kept = new URLSearchParams(location.search);
  for (const name of [...kept.keys()]) if (!["since", "until", "last"].includes(name)) kept.delete(name);
  location.href = `/sessions/${encodeURIComponent(sessionId)}${kept.size ? `?${kept}` : ""}`;
}

/** Draw limits across, and upright lines for what happened, where the level moved, or an alert began. */
function marks(plot, trend, lanes) {
  const { ctx } = plot;
  const { left, top, width, height } = plot.bbox;
  const scale = devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left - 6 * scale, 0, width + 12 * scale, top + height); // the first and the last arrow are whole
  ctx.clip();
  ctx.font = `${12 * scale}px system-ui, sans-serif`;
  const free = Array(lanes).fill(-Infinity); // where the last label of each lane ends
  const placed = trend.marks.map((mark) => [mark, plot.valToPos(mark.at, "x", true)]).filter(([, x]) => x >= left && x <= left + width);
  const labels = [];
  for (const [mark, x] of placed) {
    const text = shortened(words(mark), 24);
    const wide = ctx.measureText(text).width;
    const fits = x + wide + 6 * scale <= left + width;
    const lane = fits ? free.findIndex((end) => x > end) : -1;
    const above = lane < 0 ? 0 : (lanes - lane) * LANE * scale;
    line(ctx, colour("muted"), [2 * scale, 3 * scale], x, top - above, x, top + height, scale);
    if (lane < 0) continue;
    labels.push([text, x + 4 * scale, top - above + 11 * scale, colour(mark.kind === "note" ? "ink" : "muted")]);
    free[lane] = x + wide + 14 * scale;
  }
  for (const each of labels) label(ctx, ...each); // over all lines
  for (const { limit, rule } of trend.limits) {
    const y = plot.valToPos(limit, "y", true);
    line(ctx, colour("alarm"), [6 * scale, 4 * scale], left, y, left + width, y, scale);
    ctx.textAlign = "left";
    label(ctx, `${rule}: ${amount(limit, trend.unit)}`, left + 6 * scale, y + (y - top < 60 * scale ? 14 : -5) * scale, colour("alarm"));
  }
  let bottom = -Infinity;
  for (const change of trend.changes) {
    const x = plot.valToPos(change.start_time, "x", true);
    line(ctx, colour("warn"), [], x, top, x, top + height, scale);
    const text = `${amount(change.before_median, trend.unit)} → ${amount(change.after_median, trend.unit)}`;
    const wide = ctx.measureText(text).width;
    const fits = x + wide + 6 * scale < left + width;
    const begin = fits ? x + 5 * scale : x - wide - 5 * scale;
    if (begin < bottom) continue;
    label(ctx, text, begin, top + height - 16 * scale, colour("warn"));
    bottom = begin + wide + 8 * scale;
  }
  if (!trend.bands.length) arrows(plot, trend, scale);
  ctx.fillStyle = colour("alarm");
  for (const alert of trend.alerts.filter((each) => each.inhibited_by === null)) {
    const x = plot.valToPos(alert.since_time, "x", true);
    ctx.beginPath();
    ctx.moveTo(x, top + height - 10 * scale);
    ctx.lineTo(x - 6 * scale, top + height);
    ctx.lineTo(x + 6 * scale, top + height);
    ctx.fill();
  }
  ctx.restore();
}

function shortened(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

/** Write over whatever is below, so that it can be read. */
function label(ctx, text, x, y, ink) {
  ctx.textAlign = "left";
  ctx.lineJoin = "round";
  ctx.lineWidth = 3 * devicePixelRatio;
  ctx.strokeStyle = colour("raise");
  ctx.strokeText(text, x, y);
  ctx.fillStyle = ink;
  ctx.fillText(text, x, y);
}

/** An arrow at the top for each run beyond the scale, with its value where there is room. */
function arrows(plot, trend, scale) {
  const { ctx } = plot;
  const { left, top, width } = plot.bbox;
  const { start_time: times, duration, failed } = trend.points;
  ctx.textAlign = "left";
  const beyond = [];
  duration.forEach((value, place) => {
    const x = plot.valToPos(times[place], "x", true);
    if (value > plot.scales.y.max && x >= left && x <= left + width) beyond.push([x, value, place]);
  });
  beyond.forEach(([x, value, place], number) => {
    ctx.fillStyle = colour(failed[place] ? "failed" : "ink");
    ctx.beginPath();
    ctx.moveTo(x, top);
    ctx.lineTo(x - 4 * scale, top + 7 * scale);
    ctx.lineTo(x + 4 * scale, top + 7 * scale);
    ctx.fill();
    const text = amount(value, trend.unit);
    const next = beyond[number + 1]?.[0] ?? Infinity;
    if (x + 11 * scale + ctx.measureText(text).width > Math.min(next, left + width)) return;
    ctx.fillText(text, x + 6 * scale, top + 11 * scale);
  });
}

function line(ctx, stroke, dash, x0, y0, x1, y1, scale) {
  ctx.strokeStyle = stroke;
  ctx.lineWidth = 1.5 * scale;
  ctx.setLineDash(dash);
  ctx.beginPath();
  ctx.moveTo(x0, y0);
  ctx.lineTo(x1, y1);
  ctx.stroke();
  ctx.setLineDash([]);
}
