// Bring a part of the page up to date in place: what did not change is not touched, so that nothing
// jumps, loses its focus or forgets what was typed.

/** Make `old` like `fresh`. Elements are the same when their `data-key` or `id` is; `data-own` is left alone. */
export function patch(old, fresh) {
  for (const name of old.getAttributeNames()) {
    if (!fresh.hasAttribute(name) && !isChosen(old, name)) old.removeAttribute(name);
  }
  for (const name of fresh.getAttributeNames()) {
    if (isChosen(old, name)) continue;
    if (old.getAttribute(name) !== fresh.getAttribute(name)) old.setAttribute(name, fresh.getAttribute(name));
  }
  if (old.hasAttribute("data-own") || old === document.activeElement) return;
  patchChildren(old, fresh);
}

/** What is unfolded is the viewer's choice. */
function isChosen(element, name) {
  return name === "open" && element.nodeName === "DETAILS";
}

function patchChildren(old, fresh) {
  const keyed = new Map();
  for (const child of old.children) {
    if (keyOf(child)) keyed.set(keyOf(child), child);
  }
  let place = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const key = keyOf(wanted);
    const known = key ? keyed.get(key) : place && !keyOf(place) && alike(place, wanted) ? place : null;
    if (known && alike(known, wanted)) {
      if (known === place) place = place.nextSibling;
      else old.insertBefore(known, place);
      if (known.nodeType === Node.ELEMENT_NODE) patch(known, wanted);
      else if (known.nodeValue !== wanted.nodeValue) known.nodeValue = wanted.nodeValue;
    } else {
      const made = document.importNode(wanted, true);
      if (key && keyed.size) made.classList.add("arrived");
      old.insertBefore(made, place);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function keyOf(node) {
  return node.dataset?.key || node.id || "";
}

function alike(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName;
}
