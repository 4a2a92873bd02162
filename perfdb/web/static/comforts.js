// Small comforts: copy a command, filters that apply by themselves, a few keys.

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
  const bar = document.getElementById("bar");
  if (bar) inTheViewersZone(bar);
  document.addEventListener("submit", (event) => leaveOutEmpty(event.target));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (event.key === "/") focusSearch(event);
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
