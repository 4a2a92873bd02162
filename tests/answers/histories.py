"""Made histories of every shape whose answers are checked: a dozen, small but for one.

A history is plain sessions, the newest of which began before the last midnight (UTC): the same on every day.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from perfdb.records import Session, Step

DAY, HOUR, MINUTE = 86_400.0, 3_600.0, 60.0
GAP = 0.01  # seconds between the steps of a session that belong to none
LEAST_LIVE = 12  # newest sessions that the rules judge as they come, where a history says so

RULES = """
[[alerts.rules]]
name = "work-limit"
kind = "max"
step = "work"
limit = 2.6
"""


@dataclass(frozen=True)
class Part:
    """A step to lay out: its seconds, what runs in it (side by side when ``parallel``), how it ended."""

    name: str
    seconds: float = 0.0
    inside: Sequence[Part] = ()
    parallel: bool = False
    error: str | None = None
    data: Any = None


def laid_out(parts: Iterable[Part], start: float) -> tuple[list[Step], float]:
    """Return the steps of parts that run one after another, and when the last one ends."""
    steps: list[Step] = []

    def place(part: Part, at: float, parent: int | None, lane: int) -> float:
        seq = len(steps)
        steps.append(Step(step_name=part.name, start_time=at, duration=0.0, success=True, seq=seq))
        end = at + part.seconds
        beginning = at
        for number, child in enumerate(part.inside):
            ended = place(child, beginning, seq, lane + number if part.parallel else lane)
            beginning = at if part.parallel else ended
            end = max(end, ended)
        steps[seq] = Step(
            step_name=part.name,
            start_time=at,
            duration=end - at,
            success=part.error is None,
            error_message=part.error,
            additional_data=part.data or {},
            seq=seq,
            parent_seq=parent,
            lane=lane,
        )
        return end

    at = start
    for part in parts:
        at = place(part, at + GAP, None, 0)
    return steps, at + GAP


def session(
    number: int, start: float, parts: Iterable[Part], *, error: str | None = None, **changes: Any
) -> Session:
    """Return a session of these parts; it failed where an error is given."""
    steps, end = laid_out(parts, start)
    values: dict[str, Any] = {
        "session_id": time.strftime("%Y%m%d_%H%M%S", time.gmtime(start)) + f"_{number:08x}",
        "pipeline": "nightly",
        "start_time": start,
        "total_duration": end - start,
        "status": "completed" if error is None else "failed",
        "success": error is None,
        "error_message": error,
        "steps": tuple(steps),
        "host": "build-1",
        "perfdb_version": "0.1.0",
    }
    return Session(**(values | changes))


def around(seconds: float, number: int, name: str, spread: float = 0.03) -> float:
    """Return a duration near these seconds, the same at each call."""
    return seconds * random.Random(f"{name}{number}").lognormvariate(0.0, spread)


Made = Iterator[Session]


def two_steps(number: int, slower: float = 1.0, **error: Any) -> list[Part]:
    return [
        Part("load", around(0.4, number, "load")),
        Part("work", around(2.0, number, "work") * slower, **error),
    ]


def few(end: float) -> Made:
    for number in range(3):
        yield session(number, end - (2 - number) * HOUR, two_steps(number))


def lone(end: float) -> Made:
    yield session(0, end, two_steps(0))


def many(end: float) -> Made:
    """Runs of 300 days; two fifths ago they became 40 % slower."""
    for number in range(6_400):
        slower = 1.4 if number >= 3_840 else 1.0
        yield session(number, end - (6_399 - number) * 300 * DAY / 6_400, two_steps(number, slower))


def failing(end: float) -> Made:
    """Of the newest 20 runs 8 fail, of those before none but one."""
    for number in range(60):
        failed = number == 11 or (number >= 40 and number % 5 in (1, 3))
        error = f"HTTP 502 from shard {number}" if failed else None
        yield session(number, end - (59 - number) * HOUR, two_steps(number, error=error), error=error)


def failing_newest(end: float) -> Made:
    """A level that moved long ago, and a newest run that failed."""
    for number in range(80):
        error = "out of memory" if number == 79 else None
        parts = two_steps(number, 1.5 if number >= 50 else 1.0, error=error)
        yield session(number, end - (79 - number) * HOUR, parts, error=error)


def cached(end: float) -> Made:
    """A third of the runs came from a cache, in a step or as a whole; some are tagged."""
    for number in range(60):
        whole, part = number % 6 == 2, number % 6 == 4
        tags = ("warmup",) if number == 0 else ("ignore",) if number == 31 else ()
        parts = two_steps(number)
        if whole or part:
            parts[1] = Part("work", 0.002, data={"cached": True} if part else None)
        attributes = {"cached": True} if whole else {}
        yield session(number, end - (59 - number) * HOUR, parts, tags=tags, attributes=attributes)


def two_modes(end: float) -> Made:
    for number in range(80):
        fast = number % 2 == 1
        mode = '{"fast_mode":true}' if fast else '{"fast_mode":false}'
        parts = two_steps(number, 0.5 if fast else 1.0)
        yield session(number, end - (79 - number) * HOUR, parts, fast_mode=fast, mode=mode)


def three_pipelines(end: float) -> Made:
    """Milliseconds, seconds and minutes; the newest two are of different ones."""
    for number in range(150):
        name, seconds = (("ping", 0.02), ("nightly", 2.0), ("archive", 200.0))[number % 3]
        parts = [Part("read", around(seconds, number, "read")), Part(f"{name} only", seconds / 4)]
        yield session(number, end - (149 - number) * HOUR, parts, pipeline=name)


def nested(end: float) -> Made:
    """``Deduplicate`` in ``Transform`` takes 1.6 × as long and costs more from run 60 on: another commit."""
    for number in range(100):
        inside = [
            Part("Parse", around(0.5, number, "parse"), data={"cost_usd": around(0.01, number, "call")}),
            Part(
                "Deduplicate",
                around(2.0, number, "dedup") * (1.6 if number >= 60 else 1.0),
                data={"cost_usd": around(0.03, number, "calls") * (1.5 if number >= 60 else 1.0)},
            ),
        ]
        parts = [Part("Extract", around(1.0, number, "extract")), Part("Transform", inside=inside)]
        commit = "badc0ffee0" if number >= 60 else "0a1b2c3d4e"
        yield session(number, end - (99 - number) * HOUR, parts, git_commit=commit)


def parallel(end: float) -> Made:
    for number in range(40):
        lanes = [Part("fetch", around(1.0 + lane / 4, number, f"lane {lane}")) for lane in range(6)]
        parts = [Part("gather", inside=lanes, parallel=True), Part("merge", around(0.7, number, "merge"))]
        yield session(number, end - (39 - number) * HOUR, parts)


def gaps(end: float) -> Made:
    """Three runs a day, none in a week of 40 days, none on Sundays; one run took 9 × as long."""
    number = 0
    for day in range(40, -1, -1):
        at = end - day * DAY
        if 20 <= day < 27 or time.gmtime(at).tm_wday == 6:
            continue
        for hours in (8.0, 4.0, 0.0):
            yield session(number, at - hours * HOUR, two_steps(number, 9.0 if number == 40 else 1.0))
            number += 1


def overnight(end: float) -> Made:
    """Of every third session ``work`` begins on the day after; some fail, of which each has ``give up``."""
    for number in range(60):
        error = "disk full" if number % 9 == 4 else None
        parts = [
            Part("load", around(2.0, number, "load"), data={"cost_usd": around(0.1, number, "call")}),
            Part("work", around(3.0, number, "work"), data={"cost_usd": 0.2}),
            Part(
                "work",
                around(3.5, number, "again"),
                error=error,
                data={} if number == 31 else {"cost_usd": 0.3},
            ),
            *([Part("give up", 1.0, error=error)] if error else []),
        ]
        yield session(number, end + HOUR - 1 - (60 - number) * 8 * HOUR, parts, error=error)


def reserved(end: float) -> Made:
    """Steps whose names are words of our own."""
    for number in range(40):
        parts = [
            Part("Total", around(0.3, number, "Total")),
            Part("Other", around(0.6, number, "Other")),
            Part("work", around(1.2, number, "work")),
        ]
        yield session(number, end - (39 - number) * HOUR, parts)


def one_step(end: float) -> Made:
    for number in range(40):
        yield session(number, end - (39 - number) * HOUR, [Part("everything", around(1.5, number, "e"))])


def split(end: float) -> Made:
    """Runs of acme take 1.64 × as long from run 90 on, those of the others as before."""
    for number in range(160):
        customer = "acme" if number % 4 == 0 else ("bolt", "crux", "dune")[number % 4 - 1]
        slower = 1.64 if customer == "acme" and number >= 90 else 1.0
        parts = two_steps(number, slower)
        yield session(
            number,
            end - (159 - number) * HOUR,
            parts,
            attributes={"customer": customer, "version": "2.4" if number >= 90 else "2.3"},
        )


def two_hosts(end: float) -> Made:
    """Runs come and go between two machines, of which one takes 1.6 × as long; a version came at run 70."""
    for number in range(120):
        host = "build-2" if number in range(15, 34) or number in range(50, 63) or number > 95 else "build-1"
        yield session(
            number,
            end - (119 - number) * HOUR,
            two_steps(number, 1.6 if host == "build-2" else 1.0),
            host=host,
            attributes={"version": "2.4" if number >= 70 else "2.3"},
        )


NOTES = (  # text, at which run, of which pipeline
    ("deploy 2.4", 70, "nightly"),
    ("=new <machine>", 20, None),
    ("another region", 90, "nightly"),
)


def mixed(end: float) -> Made:
    """Two pipelines, two modes, customers, tags and failures: what filters choose from; acme slows down."""
    for number in range(240):
        acme, failed = number % 3 == 0, number % 17 == 5
        error = "no such table" if failed else None
        fast = number % 5 == 1
        yield session(
            number,
            end - (239 - number) * HOUR,
            two_steps(number, (0.5 if fast else 1.0) * (1.6 if acme and number >= 120 else 1.0), error=error),
            error=error,
            pipeline="nightly" if number % 4 else "hourly",
            fast_mode=fast,
            mode='{"fast_mode":true}' if fast else '{"fast_mode":false}',
            attributes={"customer": "acme" if acme else "bolt", "version": "2.4" if number >= 120 else "2.3"},
            git_commit="badc0ffee0" if number >= 120 else "0a1b2c3d4e",
            git_branch="main" if number % 3 else "topic",
            tags=("release",) if number % 2 else (),
        )


def wave(end: float) -> Made:
    """A run each half an hour, with a wave of the day in which ``work`` became 40 % slower at last."""
    for number in range(290):
        start = end - (289 - number) * HOUR / 2
        swing = math.exp(0.3 * math.sin(start / DAY * math.tau))
        slower = 1.4 if number >= 240 else 1.0
        load, work = around(0.4, number, "load") * swing, around(2.0, number, "work") * swing * slower
        yield session(number, start, [Part("load", load), Part("work", work)])


def empty(end: float) -> Made:
    yield from ()


HISTORIES: dict[str, Callable[[float], Made]] = {
    made.__name__: made
    for made in (
        few, lone, many, failing, failing_newest, cached, two_modes, three_pipelines, nested, parallel,
        gaps, overnight, reserved, one_step, split, two_hosts, mixed, wave, empty,
    )
}  # fmt: skip
NOTED = "two_hosts"  # it has annotations and pinned baselines
LIVE = ("failing", "failing_newest", "nested", "wave")  # judged run by run of late, as they came


def newest_start(now: float) -> float:
    """Return an hour before the last midnight: a day cuts no session in two, but those of ``overnight``."""
    return now // DAY * DAY - HOUR
