// The slider: replay the recorded schedules with another factor while it moves.

import { seconds } from "./times.js";

const AFTER_MS = 120;

export function begin(form) {
  const part = (name) => form.querySelector(`[data-${name}]`);
  let waiting = 0;
  let newest = 0;

  async function replay() {
    const mine = ++newest;
    const [pipeline, step, mode] = JSON.parse(form.elements.step.value);
    const question = new URL(form.dataset.source, location.origin);
    for (const [name, value] of Object.entries({ pipeline, step, mode, factor: form.elements.factor.value })) {
      question.searchParams.set(name, value);
    }
    const answer = await fetch(question);
    const found = await answer.json();
    if (mine !== newest) return; // a later question is on its way
    if (!answer.ok) {
      part("sentence").textContent = found.detail;
      return;
    }
    part("replayed").textContent = seconds(found.replayed_s);
    part("wall").textContent = seconds(found.wall_s);
    part("gain").textContent = signed(-found.gain_percent);
    part("sentence").textContent = found.sentence;
    const address = new URL(location.href);
    address.searchParams.set("step", form.elements.step.value);
    address.searchParams.set("factor", form.elements.factor.value);
    history.replaceState(null, "", address);
  }

  form.addEventListener("input", () => {
    part("factor").textContent = `${Math.round(100 * form.elements.factor.value)} %`;
    clearTimeout(waiting);
    waiting = setTimeout(replay, AFTER_MS);
  });
}

function signed(percent) {
  const whole = Math.round(Math.abs(percent));
  return whole === 0 ? "0 %" : `${percent < 0 ? "−" : "+"}${whole} %`;
}
