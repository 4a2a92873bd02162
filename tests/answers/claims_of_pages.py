"""What sentences, levels, the overview and comparisons may claim."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from statistics import median

from tests.answers.numbers import Number, number, numbers
from tests.answers.pages import Page, printed_tables
from tests.answers.questions import LAST, cell_of, frame_rows, label, name_of, series_of, step_key
from tests.answers.surfaces import Asked

Wrong = Iterator[str]

# --- sentences and their tables -------------------------------------------------------------------------


def stand_in(sentence: str, tables: str, facts: str = "", more: Sequence[Number] = ()) -> Wrong:
    """Yield the times and shares of a sentence that its tables do not show, nor the facts a difference."""
    known = [*(each for each in numbers(f"{tables} {facts}") if each.unit), *more]
    of_facts = [each for each in numbers(facts) if each.unit]
    differences = [
        Number(a.value - b.value, a.within + b.within, a.unit)
        for a in of_facts
        for b in of_facts
        if a.unit == b.unit
    ]
    for each in numbers(re.sub(r"95 %|\d{8}_\w+", "", sentence)):
        if each.unit and not any(_same(each, other) for other in (*known, *differences)):
            yield f"{each.value:g} {each.unit} stands in no table: {sentence[:200]}"


def _same(a: Number, b: Number) -> bool:
    apart = abs(abs(a.value) - abs(b.value))
    return a.unit == b.unit and apart <= 1.001 * (a.within + b.within)


def _tables_of(page: Page) -> str:
    return " ".join(" ".join(cell for row in table.rows for cell in row) for table in page.tables)


def sentences_of_pages(asked: Asked) -> Wrong:
    """Every time and share in a headline stands in a table or a tile below it."""
    paths = ["/trends", "/bottlenecks", "/sessions/last", "/compare?a=last~1&b=last"]
    for path in paths[: 4 if len(asked.sessions) > 1 else 3]:
        page = asked.page(path)
        rows = " ".join(text for text in page.texts if text.startswith("li: "))
        line = page.text.split("\n")[1] if path.startswith("/compare") else ""
        facts = f"{' '.join(page.tiles.values())} {page.heading if line else ''}"
        shares = page.waterfall if path == "/sessions/last" else ""
        yield from stand_in(f"{page.heading} {line}", f"{_tables_of(page)} {rows} {shares}", facts)


def sentences_of_commands(asked: Asked) -> Wrong:
    """Every time and share above a printed table stands in it."""
    for words in (("bottlenecks",), ("explain",), ("compare", "last~1", "last")):
        out = asked.command(*words).out
        for table in printed_tables(out):
            sentence = table.title if words[0] == "bottlenecks" else out.split("\n\n")[0].replace("\n", " ")
            cells = " ".join(" ".join(row) for row in table.rows)
            totals = " ".join(row[1] for row in table.rows)  # of which the whole is the sum
            seconds = [each for each in numbers(totals) if each.unit == "s"]
            whole = Number(sum(n.value for n in seconds), sum(n.within for n in seconds), "s")
            yield from stand_in(sentence, cells, " ".join(" ".join(row[:4]) for row in table.rows), [whole])


def our_words_are_not_names(asked: Asked) -> Wrong:
    """A step called Total or Other is distinguished from the total and from the time of no step."""
    for table in asked.page("/bottlenecks").tables:
        if sum(row[0] == "Other" for row in table.rows) > 1:
            yield "/bottlenecks: the step Other is called as the time of no step"
    names = [label.get_text() for label in asked.chart("bottlenecks").axes[0].get_yticklabels()]
    if "Other (step)" not in names:
        yield f"the picture of bottlenecks has no step Other: {names}"
    for words in (("trends",), ("compare", "last~1", "last"), ("explain",), ("bottlenecks",)):
        for table in printed_tables(asked.command(*words).out):
            labels = [cell_of(table, row, "step") for row in table.rows]
            if twice := {label for label in labels if labels.count(label) > 1}:
                yield f"{words[0]}: two rows are called {sorted(twice)}"


def parts_are_not_more_than_the_whole(asked: Asked) -> Wrong:
    """What accounts for a difference is not more than it."""
    for sentence in (
        asked.command("compare", "last~1", "last").out.split("\n\n")[0],
        asked.command("explain").out.split("\n\n")[0],
    ):
        match = re.search(
            r", ([^,]*?) (?:more|less|longer) than.* accounts for (.*?) of it", sentence.replace("\n", " ")
        )
        if (
            match
            and (whole := number(match[1]))
            and (part := number(match[2]))
            and part.value > whole.value + part.within
        ):
            yield f"{match[2]} of {match[1]}: {sentence}"


# --- levels ---------------------------------------------------------------------------------------------


def moved_series(asked: Asked) -> set[tuple[str, ...]]:
    """Return the series whose level moved for good, as regressions say; not for one value of an attribute.

    What only one customer's runs show, all of them together do not: their level is steady.
    """
    rows = frame_rows(asked.history.regressions(last=LAST))
    return {step_key(row) for row in rows if row["lasts"] and row["attribute"] is None}


def steady_is_not_said_of_what_moved(asked: Asked) -> Wrong:
    """No series is called steady whose level moved in the same window."""
    moved = moved_series(asked)
    for table in printed_tables(asked.command("trends", "--last", str(LAST)).out):
        for row in table.rows:
            if (table.title, cell_of(table, row, "step")) in moved and cell_of(
                table, row, "trend"
            ) == "steady":
                yield f"{row} is called steady"


def pages_do_not_deny_a_move(asked: Asked) -> Wrong:
    """No page says that a level did not move above a change or an alert of it."""
    alerts = [
        row
        for row in asked.api("alerts", state="all", limit=200)["rows"]
        if row["state"] in ("firing", "historic") and row["kind"] == "change_point"
    ]
    for series in series_of(asked):
        page = asked.page("/trends", **series, last=100_000)
        about = [
            row for row in alerts
            if (row["pipeline"], row["step_name"], row["mode"]) == tuple(series.values())
        ]  # fmt: skip
        denies = re.search(r"did not move|has not moved", page.html)
        if about and denies:
            effect = f"alert {about[0]['id']} says {about[0]['effect']:+.0f} %"
            yield f"{name_of(series)}: {denies[0]}, but {effect}"


def slope_and_sentence_agree(asked: Asked) -> Wrong:
    """A slope that is significant is not shown as 0 %."""
    for series in series_of(asked):
        tile = asked.page("/trends", **series, last=100_000).tiles.get("slope per day", "")
        match = re.match(r"0 % p = (\S+)", tile)
        if match and float(match[1]) < 0.05:
            yield f"{name_of(series)}: {tile}"


def little_history_claims_nothing(asked: Asked) -> Wrong:
    """Of few runs nobody knows a level, a trend, a 95th percentile, or what is usual."""
    said = asked.command("trends").out + "".join(
        asked.page("/trends", **series).text for series in series_of(asked)
    )
    said += asked.command("explain").out + asked.page("/sessions/last").text + asked.page("/").text
    said += asked.command("regressions").err
    for words in (
        "did not move",
        "has not moved",
        "steady",
        "slower",
        "faster",
        "drifts",
        "longer than usual",
        "No lasting move",
        "All is well",
        "permanently",
    ):
        if words in said:
            yield f"{words!r} of {len(asked.sessions)} runs"


def health_is_not_good_over_what_is_bad(asked: Asked) -> Wrong:
    """All is well is said of something, and neither above a step painted as worse nor of failing runs."""
    for page in (asked.page("/"), asked.page("/alerts")):
        if page.heading != asked.page("/").heading:
            yield f"{page.heading}, and {asked.page('/').heading}"
        if not page.heading.startswith(("All is well", "No alert fires, but nothing has run")):
            continue
        if not asked.sessions:
            yield f"{page.heading}, of no session"
        if worse := re.findall(r'class="worse">\+([^<]*)<', page.html):
            yield f"{page.heading}, above +{', +'.join(worse)}"
        newest = asked.sessions[-20:]
        failed = sum(each.status == "failed" for each in newest)
        if failed >= 5:
            yield f"{page.heading}, with {failed} of the newest {len(newest)} runs failed"


def what_is_usual_was_measured(asked: Asked) -> Wrong:
    """What a step, or no step, usually takes lies between the least and the most that it took."""
    this = asked.history.session("last")
    past = [each for each in asked.sessions if each.counted and each.start_time < this.start_time]
    past = [each for each in past if (each.pipeline, each.mode) == (this.pipeline, this.mode)]
    longest = max((each.total_duration or 0.0 for each in past), default=0.0)
    rows = frame_rows(asked.history.explain("last").frame)
    for row in rows:
        if row["usual_s"] is not None and not -1e-6 <= row["usual_s"] <= longest + 1e-6:
            yield f"{row['step_name']} usually takes {row['usual_s']:g} s of at most {longest:g} s"
        if row["usual_s"] is not None and abs(row["seconds"] - row["usual_s"] - row["excess_s"]) > 2e-6:
            yield f"{row['step_name']}: {row['seconds']} - {row['usual_s']} is not {row['excess_s']}"
        if row["n"] == 0 and row["percentile"] is not None:
            yield f"{row['step_name']} has a place among none"


# --- the overview ---------------------------------------------------------------------------------------


def overview_shows_the_newest_runs(asked: Asked) -> Wrong:
    """A row of the overview is the median of the newest 20 runs that count, or of those since its alert."""
    page = asked.page("/")
    table = page.table("Each step now") if asked.sessions else None
    for row in asked.api("overview")["series"]:
        durations = [
            each.total_duration if row["step_name"] is None else step.duration
            for each in asked.sessions
            if (each.pipeline, each.mode, each.status) == (row["pipeline"], row["mode"], "completed")
            and each.attributes.get("cached") is not True and not {"warmup", "ignore"}.intersection(each.tags)
            for step in ([None] if row["step_name"] is None else each.steps)
            if step is None or (step.step_name == row["step_name"] and not step.additional_data.get("cached"))
        ]  # fmt: skip
        newest = [value for value in durations if value is not None][-20:]
        if row["baseline_of"] == "alert":
            newest = newest[-row["n"] :]
        if len(newest) != row["n"]:
            yield f"{row['step_name']}: of {row['n']} runs, not {len(newest)}"
        if abs(row["p50"] - median(newest)) > 1e-5:
            yield f"{row['step_name']}: {row['p50']}, not {median(newest)} of the newest {len(newest)}"
        shown = [
            number(cell_of(table, each, "Median")) for each in (table.rows if table else [])
            if each[0].removesuffix(" alert") == label(row)
        ]  # fmt: skip
        if not any(each is not None and each.fits(row["p50"]) for each in shown):
            yield f"{row['step_name']}: the page shows {shown}"


def overview_paints_a_change_alike(asked: Asked) -> Wrong:
    """The change of a pipeline's total has one colour, among the pipelines and among the steps."""
    html = asked.page("/").html
    pipelines, _, steps = html.partition('id="steps"')
    rows = pipelines.partition('id="pipelines"')[2].split('<tr class="row">')[1:]
    totals = [row for row in steps.split("<tr ") if "Total" in row and "Total (step)" not in row]
    colours = [
        [re.findall(r'class="(worse|better|faint)">([^<]*[%×–])<', row)[0] for row in part if "</tr>" in row]
        for part in ([row.partition("</svg>")[2] for row in rows], totals)
    ]
    if sorted(colours[0]) != sorted(colours[1]):
        yield f"pipelines: {colours[0]}, totals among the steps: {colours[1]}"
    for reasons in re.findall(r'<li class="[^>]*data-key="alert-.*?</li>', html, re.DOTALL):
        if "when the alert opened" in reasons and len(re.findall(r'<div class="meta">', reasons)) < 3:
            yield f"parts of when the alert opened, but which? {reasons}"


def gains_are_not_less_than_what_is_held_up(asked: Asked) -> Wrong:
    """A step that runs alone, and takes no time, saves what it held the session up for."""
    for row in frame_rows(asked.history.bottlenecks(last=200)):
        alone = row["kind"] == "step" and not row["workers"]
        if alone and row["gain_max_s"] is not None and row["gain_max_s"] < row["critical_s"] - 1e-4:
            yield f"{row['step_name']}: {row['gain_max_s']} s of {row['critical_s']} s"


# --- two sessions ---------------------------------------------------------------------------------------


def compared_with_itself(asked: Asked) -> Wrong:
    """A session took as long as itself."""
    if "as long than" in asked.command("compare", "last", "last").out:
        yield "as long than"


def usual_pairs_are_of_one_kind(asked: Asked) -> Wrong:
    """What is compared when nobody says what is of one pipeline."""
    names = {each.session_id: each.pipeline for each in asked.sessions}
    row = asked.json("compare")[0]
    if names[row["a"]] != names[row["b"]]:
        yield f"the command compares {names[row['a']]} with {names[row['b']]}"
    answer = asked.api("compare")
    if answer["a"]["pipeline"] != answer["b"]["pipeline"]:
        yield "the page compares different pipelines"
    title = asked.chart("compare").texts[0].get_text()
    if len({names[each] for each in re.findall(r"\d{8}_\d{6}_\w{8}", title)}) > 1:
        yield f"the picture: {title}"


def bars_are_what_adds_up(asked: Asked) -> Wrong:
    """The bars of a comparison are the differences on the critical path."""
    answer = asked.api("compare", a="last~1", b="last")
    html = asked.page("/compare", a="last~1", b="last").html
    rows = re.findall(r'<tr[^>]*><td class="step">.*?<svg.*?</svg>', html, re.DOTALL)
    widths = [sum(map(float, re.findall(r'width="([\d.]+)"', row))) for row in rows]
    largest = max(abs(row["critical_difference_s"]) for row in answer["rows"])
    for width, row in zip(widths, answer["rows"], strict=True):
        due = 500 * abs(row["critical_difference_s"]) / largest if largest else 0.0
        if abs(width - due) > 2:
            seconds = row["critical_difference_s"]
            yield f"{row['step_name']}: a bar of {width:.0f} for {seconds:+.3f} s, not {due:.0f}"


def usual_is_one_number(asked: Asked) -> Wrong:
    """What is usual at the hour of a session is the same beside it, and where it is explained."""
    for which in ("last", "last~1", "last~40"):
        (usual,) = re.findall(r"usual at [\d:]+: (.*)", asked.command("show", which).out)
        told = " ".join(asked.command("explain", which).out.split())
        if f"is {usual} at its hour" not in told:
            yield f"{which}: usually {usual}, but {told[:200]}"
