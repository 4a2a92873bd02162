"""Where a move of the level lies, and what switched with it: parts of a total, attributes of sessions.

Pure, and standard library only: the worker asks when an alert opens. Coincidence is all that it claims:
an attribute is named when it switched where the level moved, and two that switched together are confounded.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import NormalDist, median
from typing import Any

from perfdb.stopping import looking
from perfdb.text import counted, inert, shortened
from perfdb.vocabulary import OTHER, WITHOUT_WAVE

STEADY = 3  # sessions on either side of a switch that have the same value
MOST_ODD = 0.05  # share of the sessions on one side that may have a value of the other
MOST_SWITCHES = 0.1  # per session: what switches more often than that coincides with anything
MOST_BY_CHANCE = 1 / 4  # of the switches of an attribute lie where a move may have been, when it is no cause
NO_SUSPECT = "no attribute switched with it more than by chance"
LEAST_SHARE = 0.3  # by which a share must move
LEAST_SHARE_Z = 3.29  # two-sided 0.1 %
MOST_VALUES = 5  # an attribute with more has no shares worth a sentence
LEAST_PART = 0.01  # of the total's move: smaller parts are in the rest
MOST_PARTS = 8
DOMINATES = 0.5  # of a part: a step inside that did so much of it is named
BY_CHANCE = 0.01  # that noise alone names any of the steps: parts that moved less clearly are in the rest
LEAST_MOVE = 0.01  # of the total before: of less there are no shares
_FOLLOW = ("cost_usd", "price_table")  # what a step says of its model: no cause beside a switch of that
_SHORT = {"git_commit": 10}  # characters of a value that are enough


@dataclass(frozen=True, slots=True)
class Part:
    """What one step contributes to a move of the total: ``seconds``, and ``percent`` of the move.

    ``percent`` is None when the total did not move clearly; ``step_name`` is None for the rest;
    ``within`` is the step inside of it that did most of this by itself.
    """

    step_name: str | None
    seconds: float
    percent: float | None
    within: str | None = None

    def as_dict(self) -> dict[str, object]:
        """Return the part as JSON has it: the rest is called Other, and is of another kind than a step."""
        name, kind = (OTHER, "other") if self.step_name is None else (self.step_name, "step")
        part = {"step_name": name, "seconds": self.seconds, "percent": self.percent, "kind": kind}
        return part if self.within is None else {**part, "within": self.within}

    @classmethod
    def of_dict(cls, given: Mapping[str, Any], *, last: bool = False) -> Part:
        """Return what ``as_dict`` made of a part; without a kind, the ``last`` of a cause is its rest."""
        rest = given.get("kind", "other" if last else "step") == "other"
        name = None if rest else given["step_name"]
        return cls(name, given["seconds"], given["percent"], given.get("within"))


@dataclass(frozen=True, slots=True)
class Suspect:
    """An attribute that switched where the level moved.

    Attributes:
        name: the attribute, or column such as ``git_commit``; of a step's data: ``model of Vision Analysis``.
        before: its value before; after: its value since then.
        offset: sessions from the move to the switch; 0 is the same session, negative is earlier.
        share_before: where the values are mixed: the share of the sessions that had ``after`` before the
            move; share_after: since then. None when it switched for all of them.
    """

    name: str
    before: object
    after: object
    offset: int = 0
    share_before: float | None = None
    share_after: float | None = None

    @property
    def is_switch(self) -> bool:
        """Whether it switched for all sessions, at one of them."""
        return self.share_after is None


@dataclass(frozen=True, slots=True)
class Cause:
    """What explains a move: the parts of the total's, and who is suspected.

    ``total_s``: by how much the median total moved (s); ``parts`` add up to it; ``switched_at``: when the
    session began at which the first suspect switched (epoch s), if it did and that is known; ``sides``: of
    how many sessions before the move and since, which may be fewer than the levels have;
    ``without_wave``: the seconds are those of sessions without their wave of the day and week.
    """

    total_s: float
    parts: tuple[Part, ...]
    suspects: tuple[Suspect, ...]
    switched_at: float | None = None
    sides: tuple[int, int] | None = None
    without_wave: bool = False

    @property
    def confounded(self) -> bool:
        """Whether several attributes switched together, so that none can be named as the cause."""
        return len(self.suspects) > 1

    @property
    def sentence(self) -> str:
        """The suspects in words, without a full stop; empty when nothing switched."""
        return suspicion(self.suspects)

    def of_sides(self, before_n: int, after_n: int) -> str:
        """Return of how many runs it is, where that is not all of the levels: for after the total's move."""
        sides = None if self.sides == (before_n, after_n) else self.sides
        return sides_text(sides, without_wave=self.without_wave)

    @property
    def names_a_step(self) -> bool:
        """Whether any step's part is told from noise."""
        return any(part.step_name is not None for part in self.parts)

    def part_of(self, step_name: str) -> Part | None:
        """Return what a step contributes."""
        return next((part for part in self.parts if part.step_name == step_name), None)


def sides_text(sides: tuple[int, int] | None, *, without_wave: bool) -> str:
    """Return the words for what a total's move is of: `` between 300 runs before and 92 since``."""
    wave = WITHOUT_WAVE if without_wave else ""
    return wave if sides is None else f"{wave} between {sides[0]:,} runs before and {sides[1]:,} since"


def find_cause(
    seconds: Sequence[Mapping[str | None, float]],
    facts: Sequence[Mapping[str, object]],
    at: int,
    reach: tuple[int, int] | None = None,
    inside: Sequence[Mapping[tuple[str, str], float]] = (),
    likely: tuple[int, int] | None = None,
) -> Cause:
    """Return what explains that the level moved at ``at``.

    Args:
        seconds: per session, oldest first, the critical seconds of each step name, and of no step under None,
            which add up to its total.
        facts: per session the attributes and whatever else may have switched.
        at: index of the first session of the new level, between 1 and the last.
        reach: first and last index where the move may have been, when that is known.
        inside: per session what the steps inside of a step held up by themselves, by the names of both.
        likely: first and last index that explain the data about as well; a switch there is named where none
            is in ``reach``.

    Raises:
        ValueError: there are no sessions on both sides.
    """
    if not 0 < at < len(seconds):
        raise ValueError(f"a move at {at} of {counted(len(seconds), 'session')} has no two sides")
    total, parts = contributions(seconds[:at], seconds[at:])
    parts = tuple(_with_leaf(part, inside[:at], inside[at:]) for part in parts)
    return Cause(total, parts, suspects_of(facts, at, reach, likely), sides=(at, len(seconds) - at))


def suspects_of(
    facts: Sequence[Mapping[str, object]],
    at: int,
    reach: tuple[int, int] | None = None,
    likely: tuple[int, int] | None = None,
) -> tuple[Suspect, ...]:
    """Return what may have moved the level at ``at``, as ``find_cause`` names it."""
    suspects = tuple(_not_by_chance(find_suspects(facts, at, reach), facts))
    if likely is not None and not any(each.is_switch for each in suspects):
        suspects = (*_nearest(find_suspects(facts, at, likely), facts, likely), *suspects)
    return suspects


def _not_by_chance(suspects: Sequence[Suspect], facts: Sequence[Mapping[str, object]]) -> Iterator[Suspect]:
    """Yield the suspects but those that switch so often that some switch would lie as near to any move."""
    for each in suspects:
        searched = 2 * abs(each.offset) + 1
        if not each.is_switch or (_switches_of(facts, each.name) - 1) * searched <= MOST_BY_CHANCE * len(
            facts
        ):
            yield each


def _nearest(
    suspects: Sequence[Suspect], facts: Sequence[Mapping[str, object]], likely: tuple[int, int]
) -> Iterator[Suspect]:
    """Yield the switches at one place, the nearest to the move, of attributes that seldom switch.

    What switches now and then is within such a reach by chance as well.
    """
    width = likely[1] - likely[0] + 1
    nearest = None
    for each in suspects:
        rare = _switches_of(facts, each.name) * width <= MOST_BY_CHANCE * len(facts)
        if each.is_switch and nearest in (None, each.offset) and rare:
            nearest = each.offset
            yield each


def _switches_of(facts: Sequence[Mapping[str, object]], name: str) -> int:
    keys = [_key(fact.get(name)) for fact in facts]
    return sum(one != two for one, two in pairwise(keys))


def _with_leaf(
    part: Part,
    before: Sequence[Mapping[tuple[str, str], float]],
    after: Sequence[Mapping[tuple[str, str], float]],
) -> Part:
    """Return the part with the step inside of it that made most of it, where one did."""
    names = dict.fromkeys(
        name for each in (*before, *after) for top, name in each if top == part.step_name and name != top
    )
    if part.step_name is None or not names:
        return part
    moves = {}
    for name in names:
        key = part.step_name, name
        earlier, later = ([each.get(key, 0.0) for each in side] for side in (before, after))
        moves[name] = median(later) - median(earlier)
    largest = max(moves, key=lambda name: moves[name] * math.copysign(1.0, part.seconds))
    dominates = moves[largest] * part.seconds > 0 and abs(moves[largest]) >= DOMINATES * abs(part.seconds)
    return replace(part, within=largest) if dominates else part


def contributions(
    before: Sequence[Mapping[str | None, float]], after: Sequence[Mapping[str | None, float]]
) -> tuple[float, tuple[Part, ...]]:
    """Return by how much the median total moved, and the parts of the steps, the largest first.

    A step's part is the move of the median of its critical seconds. Medians of parts do not add up to the
    median of the total: the last one, of no name, is what is left, with the time of no step and the parts
    too small to name or to tell from noise. So the parts add up to the move, and their percentages to 100.
    """
    totals = [[sum(each.values()) for each in side] for side in (before, after)]
    old, new = (median(side) for side in totals)
    moved = new - old
    names = dict.fromkeys(
        name for side in (before, after) for each in side for name in each if name is not None
    )
    errors = _errors_of(len(names))
    seconds: dict[str, float] = {}
    for name in names:
        earlier, later = ([each.get(name, 0.0) for each in side] for side in (before, after))
        part = median(later) - median(earlier)
        if abs(part) >= errors * _median_error(earlier, later):
            seconds[name] = part
    clear = abs(moved) >= max(LEAST_MOVE * abs(old), _errors_of(1) * _median_error(*totals)) and moved != 0
    least = LEAST_PART * max(abs(moved), *map(abs, seconds.values()), 0.0)
    named = sorted(seconds, key=lambda name: -abs(seconds[name]))[:MOST_PARTS]
    parts = [
        Part(name, seconds[name], 100 * seconds[name] / moved if clear else None)
        for name in named
        if abs(seconds[name]) >= least
    ]
    rest = moved - math.fsum(part.seconds for part in parts)
    parts.append(Part(None, rest, 100 * rest / moved if clear else None))
    return moved, tuple(parts)


def _errors_of(tests: int) -> float:
    """Return the standard errors that noise exceeds in any of so many by ``BY_CHANCE`` (Bonferroni)."""
    return NormalDist().inv_cdf(1 - BY_CHANCE / 2 / max(1, tests))


def _median_error(before: Sequence[float], after: Sequence[float]) -> float:
    """Return the standard error of a difference of medians, from the deviations within both sides."""
    middles = [median(side) for side in (before, after)]
    deviations = [
        abs(x - middle) for side, middle in zip((before, after), middles, strict=True) for x in side
    ]
    return 1.2533 * 1.4826 * median(deviations) * math.sqrt(1 / len(before) + 1 / len(after))


def find_suspects(
    facts: Sequence[Mapping[str, object]], at: int, reach: tuple[int, int] | None = None
) -> tuple[Suspect, ...]:
    """Return the attributes that switched at ``at``, or else within ``reach``, the nearest first.

    A switch is sharp, steady on both sides and rare; or, where values are mixed, their shares moved. What
    changes with every session, what had the new value before without any move, and what follows from the
    model that switched is no suspect.
    """
    first, last = reach or (at, at)
    places = sorted(range(max(1, first), min(len(facts) - 1, last) + 1), key=lambda place: abs(place - at))
    found: dict[tuple[str, str, int], Suspect] = {}
    seen = Counter(name for each in looking(facts) for name, value in each.items() if value is not None)
    for name, count in looking(seen.items()):
        if count < STEADY and 2 * count - 1 <= MOST_SWITCHES * len(facts):
            continue  # neither steady nor mixed: names that hold a number are another one in each run
        keys = [_key(each.get(name)) for each in facts]
        if len(set(keys)) < 2:
            continue
        place = next((place for place in places if _switches(keys, place)), None)
        if place is not None:
            suspect = Suspect(name, facts[place - 1].get(name), facts[place].get(name), place - at)
            # the same switch, recorded for the session and again for its steps, is one suspect
            found.setdefault((keys[place - 1], keys[place], place), suspect)
        elif (mixed := _moved_share(name, keys, at, facts)) is not None:
            found.setdefault((name, "", at), mixed)
    switched = {(each.name, each.offset) for each in found.values()}
    suspects = [each for each in found.values() if not _follows(each, switched)]
    return tuple(sorted(suspects, key=lambda each: (each.share_after is not None, abs(each.offset))))


def _follows(suspect: Suspect, switched: Collection[tuple[str, int]]) -> bool:
    """Say whether it is the cost, or the table of its price, of a model that switched at the same session."""
    name, of, step = suspect.name.partition(" of ")
    models = ("model", f"model{of}{step}")
    return name in _FOLLOW and any((model, suspect.offset) in switched for model in models)


def suspicion(suspects: Sequence[Suspect]) -> str:
    """Return the suspects in words: ``model switched from gpt-4o to gpt-4.1 at the same session``."""
    if not suspects:
        return ""
    said = [_clause(suspect) for suspect in suspects]
    if len(said) == 1:
        return said[0]
    more = f"; and {len(said) - 4} more" if len(said) > 4 else ""
    return f"{'; '.join(said[:4])}{more}: confounded, any of them may be the cause"


def _clause(suspect: Suspect) -> str:
    before, after = (_shown(suspect.name, value) for value in (suspect.before, suspect.after))
    name = inert(suspect.name)
    if suspect.share_before is not None and suspect.share_after is not None:
        shares = f"{suspect.share_before:.0%} of the runs before and {suspect.share_after:.0%} since"
        return f"{name} was {after} in {shares}"
    when = "at the same session"
    if suspect.offset:
        side = "earlier" if suspect.offset < 0 else "later"
        when = f"{counted(abs(suspect.offset), 'session')} {side}"
    return f"{name} switched from {before} to {after} {when}"


def _shown(name: str, value: object) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else _key(value)
    short = _SHORT.get(name)
    return inert(text[:short]) if short else shortened(inert(text), 40)


def _key(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _switches(keys: Sequence[str], place: int) -> bool:
    before, after = keys[:place], keys[place:]
    old, new = before[-1], after[0]
    if old == new or len(before) < STEADY or len(after) < STEADY:
        return False
    if set(before[-STEADY:]) != {old} or set(after[:STEADY]) != {new}:
        return False
    if before.count(new) > MOST_ODD * len(before) or after.count(old) > MOST_ODD * len(after):
        return False
    return not _is_mixed(keys)


def _is_mixed(keys: Sequence[str]) -> bool:
    """Say whether the value changes now and then anyway."""
    others = sum(one != two for one, two in pairwise(keys)) - 1
    return others > MOST_SWITCHES * len(keys)


def _moved_share(
    name: str, keys: Sequence[str], at: int, facts: Sequence[Mapping[str, object]]
) -> Suspect | None:
    if len(set(keys)) > MOST_VALUES or not _is_mixed(keys):
        return None
    before, after = Counter(keys[:at]), Counter(keys[at:])
    n, m = at, len(keys) - at

    def share(key: str) -> tuple[float, float]:
        return before[key] / n, after[key] / m

    key = max(dict.fromkeys(keys), key=lambda each: share(each)[1] - share(each)[0])
    low, high = share(key)
    pooled = (before[key] + after[key]) / (n + m)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    if high - low < LEAST_SHARE or not error or (high - low) / error < LEAST_SHARE_Z:
        return None
    value = facts[keys.index(key)].get(name)
    old = before.most_common(1)[0][0]
    return Suspect(name, facts[keys.index(old)].get(name), value, 0, low, high)
