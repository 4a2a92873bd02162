// A series that can be zoomed: runs as dots, their median as a line, limits, and where the level moved.

import { amount, shortTime } from "./times.js";

const LONE = 1800; // seconds on both sides of the only run

export async function begin(root) {
  const [trend] = await Promise.all([ask(root), script("./vendor/uPlot.iife.min.js")]);
  if (!trend) return;
  const { plot, show } = draw(root, trend);
  document.addEventListener("perfdb:refreshed", async () => {
    const fresh = await ask(root);
    if (fresh) show(fresh);
  });
  new ResizeObserver(() => plot.setSize(sizeOf(root))).observe(root);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plot.redraw(false));
}

function script(path) {
  return new Promise((done, failed) => {
    const element = document.createElement("script");
    Object.assign(element, { src: new URL(path, import.meta.url), onload: done, onerror: failed });
    document.head.append(element);
  });
}

async function ask(root) {
  try {
    const answer = await fetch(root.dataset.source);
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

function sizeOf(root) {
  const style = getComputedStyle(root);
  return { width: Math.floor(parseFloat(style.width)), height: Math.floor(parseFloat(style.height)) };
}

function colour(name) {
  return getComputedStyle(document.body).getPropertyValue(`--${name}`).trim();
}

function columnsOf(trend) {
  const { start_time: times, duration, failed, median } = trend.points;
  const good = duration.map((value, place) => (failed[place] ? null : value));
  const bad = duration.map((value, place) => (failed[place] ? value : null));
  return [times, good, median, bad];
}

function draw(root, first) {
  let trend = first;
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
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
  const options = {
    ...sizeOf(root),
    scales: {
      x: { time: true, range: (plot, low, high) => (alone(plot) ? [low - LONE, low + LONE] : [low, high]) },
      y: { range: (plot, low, high) => [0, isZoomed(plot) ? 1.08 * high : trend.top || 1] },
    },
    legend: { show: false },
    cursor: { drag: { x: true, y: false, setScale: true }, points: { size: 8 }, focus: { prox: 24 } },
    focus: { alpha: 1 },
    axes: [
      { ...axis, space: 80, values: days },
      { ...axis, size: 66, values: (plot, ticks) => ticks.map((tick) => (tick ? short(tick, trend.unit) : "0")) },
    ],
    series: [
      {},
      { paths: () => null, points: dots("critical", 5) },
      { stroke: stroke("second"), width: 2, points: { show: false }, gaps: (plot) => pauses(plot, trend) },
      { paths: () => null, points: dots("failed", 8) },
    ],
    hooks: {
      draw: [(plot) => marks(plot, trend)],
      setCursor: [(plot) => tell(plot, trend, tip)],
    },
  };
  const held = document.createElement("div");
  const plot = new uPlot(options, columnsOf(trend), held);
  plot.over.append(tip);
  root.replaceChildren(held);
  zoomByTouch(plot);
  openOnClick(plot, () => trend.points.session_id[plot.cursor.idx]);
  return {
    plot,
    show(fresh) {
      trend = fresh;
      plot.setData(columnsOf(trend), !isZoomed(plot));
    },
  };
}

/** Where the median's line is broken, in pixels: a failed run breaks it not. */
function pauses(plot, trend) {
  return trend.pauses.map((ends) => ends.map((time) => plot.valToPos(time, "x", true)));
}

/** Say what the run under the pointer was. */
function tell(plot, trend, tip) {
  const place = plot.cursor.idx;
  tip.hidden = place === null || place === undefined || plot.cursor.left < 0;
  if (tip.hidden) return;
  const { start_time: times, duration, failed } = trend.points;
  const took = document.createElement("b");
  took.textContent = amount(duration[place], trend.unit);
  const about = document.createElement("span");
  about.textContent = ` ${failed[place] ? "until it failed, " : ""}${shortTime(times[place])}`;
  tip.replaceChildren(took, about);
  const x = plot.valToPos(times[place], "x");
  const y = Math.max(0, plot.valToPos(duration[place], "y"));
  const left = x + 14 + tip.offsetWidth > plot.over.clientWidth ? x - 14 - tip.offsetWidth : x + 14;
  tip.style.transform = `translate(${left}px, ${Math.max(0, y - 34)}px)`;
}

/** Days for long spans, days and times for short ones. */
function days(plot, ticks, axis, space, step) {
  let last = "";
  return ticks.map((tick) => {
    const words = shortTime(tick);
    const [day, time] = [words.slice(0, -6), words.slice(-5)];
    if (step >= 86400) return day;
    const text = day === last ? time : words;
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
function zoomByTouch(plot) {
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
    const times = plot.data[0];
    if (right - left > 10) plot.setScale("x", { min: plot.posToVal(left, "x"), max: plot.posToVal(right, "x") });
    else if (left - right > 10) plot.setScale("x", { min: times[0], max: times.at(-1) });
  });
}

/** A click opens the run; the end of a drag is not a click. */
function openOnClick(plot, sessionId) {
  let from = null;
  plot.over.addEventListener("mousedown", (event) => { from = event.clientX; });
  plot.over.addEventListener("click", (event) => {
    if (from === null || Math.abs(event.clientX - from) > 3) return;
    const found = sessionId();
    if (found) location.href = `/sessions/${encodeURIComponent(found)}`;
  });
}

/** Draw limits across, and upright lines where the level moved or an alert began. */
function marks(plot, trend) {
  const { ctx } = plot;
  const { left, top, width, height } = plot.bbox;
  const scale = devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top, width, height);
  ctx.clip();
  ctx.font = `${12 * scale}px system-ui, sans-serif`;
  for (const { limit, rule } of trend.limits) {
    const y = plot.valToPos(limit, "y", true);
    line(ctx, colour("alarm"), [6 * scale, 4 * scale], left, y, left + width, y, scale);
    ctx.fillStyle = colour("alarm");
    ctx.textAlign = "left";
    ctx.fillText(`${rule}: ${amount(limit, trend.unit)}`, left + 6 * scale, y + (y - top < 20 * scale ? 14 : -5) * scale);
  }
  for (const change of trend.changes) {
    const x = plot.valToPos(change.start_time, "x", true);
    line(ctx, colour("warn"), [], x, top, x, top + height, scale);
    const words = `${amount(change.before_median, trend.unit)} → ${amount(change.after_median, trend.unit)}`;
    const fits = x + ctx.measureText(words).width + 6 * scale < left + width;
    ctx.fillStyle = colour("warn");
    ctx.textAlign = fits ? "left" : "right";
    ctx.fillText(words, x + (fits ? 5 : -5) * scale, top + height - 16 * scale);
  }
  arrows(plot, trend, scale);
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

/** An arrow at the top for each run beyond the scale, with its value where there is room. */
function arrows(plot, trend, scale) {
  const { ctx } = plot;
  const { left, top, width } = plot.bbox;
  const { start_time: times, duration, failed } = trend.points;
  let free = -Infinity;
  ctx.textAlign = "left";
  duration.forEach((value, place) => {
    const x = plot.valToPos(times[place], "x", true);
    if (value <= plot.scales.y.max || x < left || x > left + width) return;
    ctx.fillStyle = colour(failed[place] ? "failed" : "ink");
    ctx.beginPath();
    ctx.moveTo(x, top);
    ctx.lineTo(x - 4 * scale, top + 7 * scale);
    ctx.lineTo(x + 4 * scale, top + 7 * scale);
    ctx.fill();
    const words = amount(value, trend.unit);
    if (x < free || x + 7 * scale + ctx.measureText(words).width > left + width) return;
    ctx.fillText(words, x + 6 * scale, top + 11 * scale);
    free = x + 14 * scale + ctx.measureText(words).width;
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
