// Small comforts: copy a command, filters that apply by themselves, a few keys.

export function comforts() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) copy(button);
  });
  document.addEventListener("change", (event) => {
    if (event.target.closest("[data-submit]")) event.target.form.requestSubmit();
  });
  document.addEventListener("submit", (event) => leaveOutEmpty(event.target));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (event.key === "/") focusSearch(event);
    if (event.key === "j" || event.key === "k") nextRow(event.key === "j" ? 1 : -1);
  });
  document.querySelector(".top nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
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
