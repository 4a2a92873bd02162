// Say what one thinks of an alert. The token shows the server that the order comes from this page.

import { refresh } from "./live.js";

const SAID = {
  acknowledge: "Acknowledged: nobody is reminded any more.",
  expected: "Taken as the new baseline; the alert is closed.",
  "false-alarm": "Closed as a false alarm; the rule's precision counts it.",
  silence: "Silenced: nobody is told.",
  unsilence: "The silence has ended.",
  undo: "Taken back: it is what it was before the decision.",
};

let listens = false;

export function begin() {
  if (listens) return; // a list has several
  listens = true;
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do], [data-undo]");
    if (button) decide(button.closest("[data-module=decide]"), button.dataset.do ?? "undo");
  });
}

async function decide(root, word) {
  const note = root.querySelector("[name=note]")?.value.trim() || null;
  let body = word === "unsilence" ? null : { note };
  if (word === "silence") body = { seconds: Number(root.querySelector("[name=seconds]").value), reason: note };
  for (const button of root.querySelectorAll("button")) button.disabled = true;
  try {
    const answer = await fetch(`/api/v1/alerts/${root.dataset.alert}/${word}`, {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        "X-Perfdb-Token": document.querySelector('meta[name="perfdb-token"]').content,
      },
      body: body && JSON.stringify(body),
    });
    if (answer.ok) say(SAID[word], true);
    else say((await answer.json()).detail, false);
  } catch {
    say("The server does not answer; nothing was changed.", false);
  }
  await refresh();
  for (const button of root.querySelectorAll("button")) button.disabled = !button.matches("[data-do], [data-undo]");
}

function say(words, well) {
  const place = document.getElementById("decided");
  place.textContent = words;
  place.classList.toggle("wrong", !well);
}
