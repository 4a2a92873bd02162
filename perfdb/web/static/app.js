// What every page has once it is painted: times that go on, live updates, small comforts. Charts and the
// like come with `data-module` on an element, which names a module beside this one.

const MODULES = {
  trend: () => import("./trend.js"),
  "what-if": () => import("./what-if.js"),
  waterfall: () => import("./waterfall.js"),
  decide: () => import("./decide.js"),
};

function painted() {
  return new Promise((done) => {
    new PerformanceObserver(() => done()).observe({ type: "paint", buffered: true });
    setTimeout(done, 1000); // a page in the background is not painted
  });
}

const chosen = []; // before the scripts that listen are here
const notice = (event) => chosen.push(event.target);
document.addEventListener("change", notice);
await painted();
const [{ tick }, { comforts }, { follow }] = await Promise.all([
  import("./times.js"), import("./comforts.js"), import("./live.js"),
]);
tick();
comforts();
document.removeEventListener("change", notice);
for (const field of chosen) field.dispatchEvent(new Event("change", { bubbles: true }));
const begun = new WeakSet();

/** Begin what came with the page, and what came later: a session that ended has its tree then. */
function beginModules() {
  for (const element of document.querySelectorAll("[data-module]")) {
    if (begun.has(element)) continue;
    begun.add(element);
    MODULES[element.dataset.module]().then((module) => module.begin(element));
  }
}

beginModules();
document.addEventListener("perfdb:refreshed", beginModules);
follow();
