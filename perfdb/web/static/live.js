// Follow what happens: the server says that something moved, the page is asked for again, and its parts
// with `data-live` are brought up to date. A page in the background waits until somebody looks.

import { patch } from "./patch.js";
import { dressTimes } from "./times.js";

const AT_MOST_EVERY_MS = 1000;
let asking = false;
let askAgain = false;
let askedAt = 0;
let source = null;
let version = null;
let paused = false;
let held = null; // the list of decisions under the pointer

export function follow() {
  if (!document.hidden) listen();
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) stop();
    else listen();
    if (!document.hidden && askAgain) refresh();
  });
  document.addEventListener("pointerover", () => {
    if (held && !held.matches(":hover")) {
      held = null;
      refresh();
    }
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted) refresh(); // it comes from the browser's memory
  });
}

/** Nobody looks: a browser has few connections to one host, and other pages want them. */
function stop() {
  source?.close();
  source = null;
}

/** Stand still, or follow again; say which. */
export function pause() {
  paused = !paused;
  if (paused) {
    stop();
    document.getElementById("pulse").classList.remove("on", "off");
  } else {
    listen();
    refresh();
  }
  return paused;
}

function listen() {
  if (source || paused) return;
  const loaded = Number(document.querySelector('meta[name="perfdb-now"]').content);
  source = new EventSource("/api/v1/events");
  source.addEventListener("live", (event) => {
    show(true);
    const news = JSON.parse(event.data);
    const moved = version === null ? isNewer(news, loaded) : news.version !== version;
    version = news.version;
    const begins = document.querySelector("[data-empty]") && (news.running.length || news.sessions.length);
    if (begins && isFirstAt(version)) location.reload(); // there is nothing here that could jump
    else if (moved) refresh();
  });
  source.addEventListener("open", () => show(true));
  source.addEventListener("error", () => show(false));
}

/** Say whether this tab has not been loaded again for this version: a page that stays empty must not loop. */
function isFirstAt(version) {
  const known = sessionStorage.getItem("perfdb-begun") === String(version);
  sessionStorage.setItem("perfdb-begun", String(version));
  return !known;
}

/** Say whether something happened between the writing of the page and the first word of the server. */
function isNewer(news, loaded) {
  return news.running.length > 0 || news.sessions.some((each) => (each.end_time ?? each.start_time) > loaded - 2);
}

function show(connected) {
  const pulse = document.getElementById("pulse");
  pulse.classList.toggle("on", connected);
  pulse.classList.toggle("off", !connected);
  pulse.title = connected ? "This page follows what happens" : "The server does not answer; trying again";
}

/** Ask for the page again and bring its live parts up to date. */
export async function refresh() {
  if (asking || document.hidden) {
    askAgain = true;
    return;
  }
  asking = true;
  askAgain = false;
  try {
    await new Promise((resolve) => setTimeout(resolve, askedAt + AT_MOST_EVERY_MS - Date.now()));
    askedAt = Date.now();
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.ok) bringUpToDate(new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch {
    // the server went away; the dot in the corner says so, and the next event brings everything
  } finally {
    asking = false;
    if (askAgain) refresh();
  }
}

/** Bring the items of a list up to date where they are: the next button must not move under the pointer. */
function patchItems(list, wanted) {
  for (const item of list.querySelectorAll("li[data-key]")) {
    const fresh = wanted.querySelector(`li[data-key="${item.dataset.key}"]`);
    const { height } = item.getBoundingClientRect();
    if (fresh) patch(item, fresh);
    item.style.minHeight = `${height}px`;
  }
}

function bringUpToDate(fresh) {
  for (const part of document.querySelectorAll("[data-live]")) {
    const wanted = fresh.getElementById(part.id);
    if (!wanted) continue;
    dressTimes(wanted);
    if (part.matches(":hover") && part.querySelector("li [data-module=decide]")) patchItems((held = part), wanted);
    else patch(part, wanted);
  }
  document.title = fresh.title;
  document.dispatchEvent(new CustomEvent("perfdb:refreshed"));
}
