// Times in the viewer's zone, ages and elapsed seconds that go on. The server wrote UTC; hovering shows it.
// It is the one script that the first paint waits for, so that no time jumps; the others come after it.

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const two = (number) => String(number).padStart(2, "0");
const ahead = serverAhead();

/** Seconds since the epoch, by the server's clock. */
export function now() {
  return Date.now() / 1000 + ahead;
}

function serverAhead() {
  const written = Number(document.querySelector('meta[name="perfdb-now"]')?.content);
  const difference = written - Date.now() / 1000;
  return Math.abs(difference) > 60 ? difference : 0; // less may as well be the way here
}

export function shortTime(epoch) {
  const then = new Date(epoch * 1000);
  const year = then.getFullYear() === new Date().getFullYear() ? "" : ` ${then.getFullYear()}`;
  return `${two(then.getDate())} ${MONTHS[then.getMonth()]}${year} ${two(then.getHours())}:${two(then.getMinutes())}`;
}

function closeTime(epoch) {
  return `${shortTime(epoch)}:${two(new Date(epoch * 1000).getSeconds())}`;
}

function fullTime(epoch) {
  const then = new Date(epoch * 1000);
  return `${then.getFullYear()}-${two(then.getMonth() + 1)}-${two(then.getDate())} ${two(then.getHours())}:${two(then.getMinutes())}:${two(then.getSeconds())}`;
}

/** As a field for date and time has it. */
export function fieldTime(epoch) {
  return fullTime(epoch).replace(" ", "T").slice(0, 16);
}

function age(epoch) {
  const seconds = now() - epoch;
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  const days = Math.floor(seconds / 86400);
  return `${days} day${days === 1 ? "" : "s"} ago`;
}

/** Seconds as a person says them; the same words as perfdb.text.duration_text. */
export function seconds(value) {
  if (value === null || Number.isNaN(value)) return "–";
  if (value === 0) return "0 s";
  if (value > 0 && value < 0.95e-6) return `${Number((value * 1e6).toPrecision(2))} µs`;
  if (value < 0.0009995) return `${(value * 1e6).toFixed(0)} µs`;
  if (value < 0.9995) return `${Number((value * 1e3).toPrecision(3))} ms`;
  if (value < 119.995) return `${value.toFixed(2)} s`;
  const whole = Math.round(value);
  const minutes = Math.floor(whole / 60);
  if (minutes < 120) return `${minutes} min ${two(whole % 60)} s`;
  const nearest = Math.floor((whole + 30) / 60);
  return `${Math.floor(nearest / 60)} h ${two(nearest % 60)} min`;
}

const SIZES = [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"], [0, "B"]];

/** A value of any measure with its unit; much as perfdb.text.amount_text. */
export function amount(value, unit) {
  if (unit === "s" || value === null || Number.isNaN(value)) return seconds(value);
  if (value < 0) return `−${amount(-value, unit)}`;
  if (unit === "ms") return seconds(value / 1000);
  if (unit === "usd") {
    const digits = value >= 0.995 || value === 0 ? 2 : Math.min(12, 2 - Math.floor(Math.log10(value)));
    return `$${value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: digits })}`;
  }
  if (unit === "bytes") {
    const [size, name] = SIZES.find(([least]) => value >= least);
    return `${Number((value / (size || 1)).toPrecision(3))} ${name}`;
  }
  const figure = value.toLocaleString("en", { maximumSignificantDigits: 6 });
  return unit ? `${figure} ${unit === "percent" ? "%" : unit}` : figure;
}

/** What has run for so long, without digits that nobody can read. */
function elapsed(value) {
  return value < 120 ? `${Math.max(0, value).toFixed(0)} s` : seconds(value);
}

const WRITERS = { short: shortTime, close: closeTime, full: fullTime, ago: age };

export function dressTimes(root) {
  for (const element of root.querySelectorAll("time[data-form]")) {
    const text = WRITERS[element.dataset.form](Date.parse(element.dateTime) / 1000);
    if (element.textContent !== text) element.textContent = text;
  }
  for (const element of root.querySelectorAll("[data-elapsed]")) {
    if (element.textContent === "–") continue; // it ended, and nobody knows when
    const text = elapsed(now() - Number(element.dataset.elapsed));
    if (element.textContent !== text) element.textContent = text;
  }
}

/** Let ages and elapsed seconds go on. */
export function tick() {
  setInterval(() => {
    if (document.hidden) return;
    if (document.querySelector('[data-elapsed], time[data-form="ago"]')) dressTimes(document);
  }, 1000);
}

dressTimes(document);
