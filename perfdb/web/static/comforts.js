// Small comforts: copy a command, filters that apply by themselves, a few keys.

import { pause, refresh } from "./live.js";
import { fieldTime } from "./times.js";

export function comforts() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) copy(button);
  });
  document.addEventListener("change", (event) => {
    const chosen = event.target.closest("[data-submit]");
    if (chosen?.value === "dates") openDates(chosen.form);
    else if (chosen) chosen.form.requestSubmit();
  });
  document.getElementById("shortcuts")?.addEventListener("click", showKeys);
  document.getElementById("copy-link")?.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      say("The address of this page is copied");
    } catch {
      prompt("The address of this page:", location.href);
    }
  });
  document.getElementById("pause")?.addEventListener("click", (event) => {
    const isPaused = pause();
    event.target.textContent = isPaused ? "Follow" : "Pause";
    event.target.setAttribute("aria-pressed", String(isPaused));
    say(isPaused ? "The page stands still" : "The page follows what happens");
  });
  const bar = document.getElementById("bar");
  if (bar) inTheViewersZone(bar);
  if (document.getElementById("views")) savedViews();
  document.addEventListener("submit", (event) => leaveOutEmpty(event.target));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (event.key === "/") focusSearch(event);
    if (event.key === "?") showKeys();
    if (event.key === "p") document.getElementById("pause")?.click();
    if (event.key === "r") refresh();
    if (event.key === "j" || event.key === "k") nextRow(event.key === "j" ? 1 : -1);
  });
  document.querySelector(".top nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

/** Dates are those of the viewer; the server is told of which zone. */
function inTheViewersZone(bar) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone && !document.cookie.includes(`perfdb_zone=${zone}`)) {
    document.cookie = `perfdb_zone=${zone}; path=/; max-age=31536000; samesite=strict`; // for "today"
  }
  for (const field of bar.querySelectorAll("[data-at]")) field.value = fieldTime(Number(field.dataset.at));
  bar.querySelector(".dates").addEventListener("input", () => {
    bar.elements.window.value = "dates";
  });
  bar.addEventListener("submit", () => {
    const { zone: field, from, to } = bar.elements;
    if (!from.value && !to.value) return;
    field.disabled = false;
    field.value = zone;
  });
}

const VIEWS = "perfdb-views";

/** Addresses with names: those of the settings, which all see, and below them this browser's own. */
function savedViews() {
  const list = document.getElementById("views");
  const field = document.getElementById("view-name");
  const address = () => location.pathname + location.search;
  const own = () => {
    try {
      const kept = JSON.parse(localStorage.getItem(VIEWS) ?? "[]");
      return kept.filter(([name, path]) => typeof name === "string" && /^\/(?![/\\])[^\x00-\x20\x7f]*$/.test(path));
    } catch {
      return [];
    }
  };
  const keep = (views) => {
    localStorage.setItem(VIEWS, JSON.stringify(views));
    show();
  };
  function show() {
    for (const old of list.querySelectorAll("[data-mine]")) old.remove();
    for (const [name, path] of own()) {
      const [item, link, gone] = ["li", "a", "button"].map((kind) => document.createElement(kind));
      item.dataset.mine = "";
      link.href = path;
      link.textContent = name;
      gone.type = "button";
      gone.className = "plain";
      gone.textContent = "✕";
      gone.setAttribute("aria-label", `Forget the view ${name}`);
      gone.addEventListener("click", () => keep(own().filter(([other]) => other !== name)));
      item.append(link, gone);
      list.append(item);
    }
  }
  function save() {
    const name = field.value.trim() || document.querySelector("h1").innerText.slice(0, 80);
    keep([...own().filter(([other]) => other !== name), [name, address()]]);
    field.value = "";
    say(`Saved as ${name}`);
  }
  document.getElementById("save-view").addEventListener("click", save);
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault(); // it would ask the bar's question
    save();
  });
  document.getElementById("view-lines").addEventListener("click", async () => {
    const name = field.value.trim() || document.querySelector("h1").innerText.slice(0, 80);
    const lines = `[views]\n${JSON.stringify(name)} = ${JSON.stringify(address())}\n`;
    try {
      await navigator.clipboard.writeText(lines);
      say("Copied");
    } catch {
      prompt("For perfdb.toml:", lines);
    }
  });
  const folded = list.closest("details");
  const close = () => { folded.open = false; };
  document.addEventListener("click", (event) => folded.contains(event.target) || close());
  folded.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    close();
    folded.querySelector("summary").focus();
  });
  show();
}

const KEYS = [
  ["/", "find a session, or a step of the waterfall"], ["j, k", "next and previous row"], ["⏎", "open it"],
  ["r", "bring the page up to date"], ["p", "pause, and follow again"], ["?", "these keys"],
  ["← →", "in a chart: from run to run; in the waterfall: fold, unfold"], ["↑ ↓", "in the waterfall: from row to row"],
  ["+, 0", "in a chart: zoom, and all again"], ["[ ]", "in a chart: from this run, to that one"], ["Esc", "close"],
];

function showKeys() {
  let dialog = document.getElementById("keys");
  if (!dialog) {
    dialog = document.createElement("dialog");
    dialog.id = "keys";
    const heading = document.createElement("h2");
    heading.textContent = "Keys";
    dialog.setAttribute("aria-label", "Keys");
    const list = document.createElement("dl");
    list.className = "facts";
    for (const [key, meaning] of KEYS) {
      const [term, words] = [document.createElement("dt"), document.createElement("dd")];
      const cap = document.createElement("kbd");
      cap.textContent = key;
      term.append(cap);
      words.textContent = meaning;
      list.append(term, words);
    }
    const form = document.createElement("form");
    form.method = "dialog";
    const close = document.createElement("button");
    close.textContent = "Close";
    form.append(close);
    dialog.append(heading, list, form);
    document.body.append(dialog);
  }
  if (!dialog.open) dialog.showModal();
}

function openDates(bar) {
  bar.querySelector(".dates").open = true;
  bar.elements.from.focus();
}

async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    say("Copied");
  } catch {
    getSelection().selectAllChildren(button.previousElementSibling);
    say("Selected: copy it with your keyboard");
  }
}

function say(words) {
  document.getElementById("said").textContent = words;
}

/** Keep addresses short: a field that says nothing has no place in a link. */
function leaveOutEmpty(form) {
  if (form.method !== "get") return;
  for (const field of form.elements) {
    if (field.name && field.value === "") field.disabled = true;
  }
  const columns = [...form.elements].filter((field) => field.name === "columns");
  const asUsual = columns.every((field) => field.checked === field.defaultChecked);
  if (asUsual && !new URLSearchParams(location.search).has("columns")) {
    for (const field of columns) field.disabled = true;
  }
  setTimeout(() => {
    for (const field of form.elements) field.disabled = false;
  });
}

function isTyping(element) {
  return element.closest("input:not([type=range]), select, textarea") !== null;
}

function focusSearch(event) {
  const field = document.querySelector("[data-slash]");
  if (!field) return;
  event.preventDefault();
  field.focus();
}

function nextRow(step) {
  const rows = [...document.querySelectorAll("a.over")];
  const place = rows.indexOf(document.activeElement) + step;
  rows[Math.max(0, Math.min(rows.length - 1, place))]?.focus();
}
