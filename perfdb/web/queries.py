"""What a page or an endpoint may be asked, checked; an empty field of a form is not asked at all."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from fastapi import Path
from fastapi import __version__ as fastapi_version
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from perfdb.analysis.rows import AlertState
from perfdb.filters import Filters as HistoryFilters
from perfdb.filters import attribute_of, moment_of
from perfdb.history.access import Access
from perfdb.history.names import require_names
from perfdb.store.browsing import Key
from perfdb.text import shortened
from perfdb.vocabulary import MAX_NAME, recorded_name
from perfdb.web.schemas import Status

MOST_ON_A_PAGE = 200
_KEY = re.compile(r"(-?[0-9]{1,20}(?:\.[0-9]{1,20})?(?:e[+-]?[0-9]{1,2})?)_([0-9]{1,18})")
_LONGEST = 200


def _empty_is_none(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _moment(value: str) -> str:
    moment_of(value)
    return value


def _key(value: str) -> str:
    key_of(value)
    return value


def _pair(value: str) -> str:
    attribute_of(value)
    return value


def key_of(text: str) -> Key:
    """Return the key that ``text_of_key`` wrote.

    Raises:
        ValueError: it wrote no such thing.
    """
    found = _KEY.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a key of a page: take it from `after` or `before` of an answer")
    return Key(float(found[1]), int(found[2]))


def text_of_key(key: Key | None) -> str | None:
    """Return a key as it stands in a link."""
    return None if key is None else f"{key.value!r}_{key.pk}"


_SLIPS = {
    "int_parsing": "{value} is no whole number",
    "int_from_float": "{value} is no whole number",
    "float_parsing": "{value} is no number",
    "finite_number": "{value} is no number",
    "greater_than_equal": "say {ge:g} or more, not {value}",
    "less_than_equal": "say {le:g} or less, not {value}",
    "literal_error": "say {expected}, not {value}",
    "extra_forbidden": "nothing is called so here",
    "string_too_long": "that is longer than {max_length} characters",
}


def slip(found: Any) -> str:
    """Return what is wrong with something that was asked: its name, and why, in our words."""
    places = [part for part in found["loc"] if isinstance(part, str)]
    where = ".".join(part for part in places if part not in ("query", "path", "body"))
    words = _SLIPS.get(found["type"], found["msg"].removeprefix("Value error, "))
    if found["type"] in _SLIPS:
        words = words.format(value=repr(shortened(str(found["input"]), 60)), **found.get("ctx", {}))
    return f"{where or 'the body'}: {words}"


def _like(pattern: str) -> Any:
    """Describe a form for OpenAPI; the validators beside it say in words what is wrong."""
    return Field(max_length=_LONGEST, json_schema_extra={"pattern": pattern})


_MOMENT = (
    r"^([0-9]{1,4}[smhdw]|[0-9]{9,10}|(19[7-9]|20[0-9])[0-9]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
    r"(T([01][0-9]|2[0-3]):[0-5][0-9])?)$"
)
Text = Annotated[str, Field(max_length=_LONGEST)]
Name = Annotated[str, Field(max_length=4 * MAX_NAME), AfterValidator(recorded_name)]  # longer as it was given
MaybeName = Annotated[Name | None, BeforeValidator(_empty_is_none)]
_Given = Annotated[str, Field(max_length=4 * MAX_NAME)]
MaybeMode = Annotated[_Given | None, BeforeValidator(_empty_is_none)]
MaybeBranch = MaybeMode  # as it was given: longer than any that is kept, it is unknown
MaybeText = Annotated[Text | None, BeforeValidator(_empty_is_none)]
MaybeMoment = Annotated[
    Annotated[str, _like(_MOMENT), AfterValidator(_moment)] | None, BeforeValidator(_empty_is_none)
]
MaybeKey = Annotated[
    Annotated[str, _like(rf"^{_KEY.pattern}$"), AfterValidator(_key)] | None, BeforeValidator(_empty_is_none)
]
MaybeBool = Annotated[bool | None, BeforeValidator(_empty_is_none)]
Pair = Annotated[str, _like("^[^=]+=.*$"), AfterValidator(_pair)]
AlertId = Annotated[int, Path(ge=1, le=1 << 62)]


_FILLS_IN = [int(each) for each in fastapi_version.split(".")[:2]] < [0, 148]


class Query(BaseModel):
    """The root of all questions; unknown names are refused, so that a slip of the pen is not passed over."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="after")
    def _without_defaults(self) -> Self:
        """Count as given only what an address has: FastAPI before 0.148 fills defaults in."""
        if _FILLS_IN:
            for name, field in type(self).model_fields.items():
                if getattr(self, name) == field.default:
                    self.model_fields_set.discard(name)
        return self


class Filters(Query):
    """Which sessions; see ``History.sessions``."""

    pipeline: MaybeName = Field(None, description="Only this pipeline.")
    since: MaybeMoment = Field(None, description="Started at or after: 7d, 24h, 2026-01-31, epoch seconds.")
    until: MaybeMoment = Field(None, description="Started before; the same forms.")
    mode: MaybeMode = Field(None, description="Only this mode: canonical JSON, as in every answer.")
    fast_mode: MaybeBool = Field(None, description="Only sessions with this value.")
    status: Annotated[Status | None, BeforeValidator(_empty_is_none)] = Field(None, description="Only these.")
    tag: MaybeText = Field(None, description="Only with this tag.")
    branch: MaybeBranch = Field(None, description="Only those that ran on this branch of git.")
    attribute: Annotated[list[Pair], Field(max_length=8)] = Field(
        default_factory=list, description="Only with this attribute, as key=value; may be repeated."
    )

    def filters(self) -> HistoryFilters:
        """Return the filters as the methods of ``History`` take them."""
        return {
            "pipeline": self.pipeline,
            "since": self.since,
            "until": self.until,
            "mode": self.mode,
            "fast_mode": self.fast_mode,
            "status": self.status,
            "tag": self.tag,
            "branch": self.branch,
            "attribute": dict(attribute_of(pair) for pair in self.attribute) or None,
        }

    def require_names(self, history: Access, step: str | None = None) -> None:
        """Let a question pass whose names, and that of its step, are known.

        Raises:
            NotFoundError: nothing is called so.
        """
        require_names(
            history,
            pipeline=self.pipeline,
            step=step,
            tag=self.tag,
            branch=self.branch,
            mode=self.mode,
            attribute=self.filters()["attribute"],
        )


Measured = Annotated[Name | None, BeforeValidator(_empty_is_none)]
OF_MEASURE = Field(None, description="Instead of the duration: cost_usd, or any number that was recorded.")


class SessionsQuery(Filters):
    """A page of sessions."""

    search: MaybeText = Field(None, description="How the session's id begins.")
    text: MaybeText = Field(
        None, description="What stands in the pipeline's name, the error or an attribute."
    )
    last: int | None = Field(None, ge=1, le=100_000, description="Of so many of the newest that fit.")
    sort: Literal["newest", "oldest", "slowest", "fastest"] = "newest"
    columns: Annotated[list[Text], Field(max_length=12)] = Field(
        default_factory=list,
        description="Beside the others, in `more`: host, git_commit, cpu_s, or an attribute of this name.",
    )
    after: MaybeKey = Field(None, description="The page after this key.")
    before: MaybeKey = Field(None, description="The page before this key.")
    limit: int = Field(50, ge=1, le=MOST_ON_A_PAGE)


class SessionQuery(Query):
    """How much of a session."""

    explain: bool = Field(True, description="Why it took that long; without, an answer takes less time.")


class OverviewQuery(Query):
    """What the first page is about; without a window the newest runs."""

    pipeline: MaybeName = Field(None, description="Only this pipeline.")
    mode: MaybeMode = Field(None, description="Only this mode: canonical JSON.")
    since: MaybeMoment = Field(None, description="Runs since then, beside those before.")
    until: MaybeMoment = Field(None, description="Started before; the same forms.")
    last: int | None = Field(None, ge=1, le=10_000, description="So many of the newest runs of each series.")


class TrendQuery(Query):
    """A series and a window of it; without a pipeline the one with the most runs lately."""

    pipeline: MaybeName = None
    step: MaybeName = Field(None, description="A step's name; the session's total without.")
    mode: MaybeMode = Field(
        None, description="Canonical JSON, as in every answer; the one with the most runs lately without."
    )
    last: int = Field(
        500,
        ge=1,
        le=100_000,
        description="Of so many of the newest sessions of its pipeline and mode that ended.",
    )
    since: MaybeMoment = None
    until: MaybeMoment = None
    period: Literal["day", "week"] = "day"
    measure: Measured = OF_MEASURE


class AnnotationsQuery(Query):
    """What was said to have happened."""

    pipeline: MaybeName = Field(None, description="Only what concerns this pipeline.")
    since: MaybeMoment = Field(None, description="Only what happened at or after: 7d, 2026-01-31.")
    until: MaybeMoment = Field(None, description="Only what happened before; the same forms.")
    last: int = Field(1_000, ge=1, le=10_000, description="So many of the newest that fit.")


class StepsQuery(Filters):
    """The steps of the newest sessions that fit."""

    step: MaybeName = Field(None, description="Only steps of this name.")
    last: int = Field(5, ge=1, le=2_000, description="So many of the newest sessions that fit.")


class ViolationsQuery(Filters):
    """Runs of the newest sessions that fit."""

    last: int = Field(1_000, ge=1, le=10_000, description="So many of the newest sessions that fit.")
    measure: Measured = Field(None, description="Only what broke rules for this measure.")


class MeasuresQuery(Filters):
    """What was measured in the newest sessions that fit."""

    last: int = Field(1_000, ge=1, le=10_000, description="So many of the newest sessions that fit.")


class RegressionsQuery(Filters):
    """Moves of the level, in the history of the sessions that fit; ``since`` chooses of the moves."""

    step: MaybeName = Field(None, description="Only this step, without the totals.")
    better: bool = Field(False, description="What moved for the better instead.")
    last: int | None = Field(None, ge=1, le=100_000, description="So many of the newest; all without.")
    measure: Measured = OF_MEASURE


class BottlenecksQuery(Filters):
    """What the steps of the last sessions cost."""

    last: int = Field(100, ge=1, le=2_000)
    measure: Measured = OF_MEASURE


class WhatIfQuery(BottlenecksQuery):
    """A step that is made faster, or slower."""

    step: Name
    factor: float = Field(ge=0.0, le=10.0, description="Of its time: 0.5 is twice as fast, 0 takes none.")
    mode: MaybeMode = Field(None, description="Canonical JSON; the one of the most sessions without.")
    within: MaybeMode = Field(None, description="Only of this mode are so many sessions taken.")

    def filters(self) -> HistoryFilters:
        """Return the filters of the sessions; the mode is chosen of those that have the step."""
        return {**super().filters(), "mode": self.within}


class CompareQuery(Filters):
    """Two sessions, or with ``by`` two groups of sessions."""

    a: MaybeText = Field(None, description="A session as in `perfdb show`, or a value of the attribute.")
    b: MaybeText = None
    by: MaybeText = Field(None, description="An attribute whose values make two groups.")
    split: MaybeMoment = Field(None, description="Instead: the runs before this moment, and those since.")
    resume: MaybeMoment = Field(None, description="With split: the later period begins only here.")
    last: int = Field(1_000, ge=2, le=10_000)
    measure: Measured = OF_MEASURE


class ParetoQuery(Filters):
    """Seconds against a measure, per value of an attribute."""

    by: MaybeText = Field(None, description="An attribute of sessions, or else of steps; `model` without.")
    step: MaybeText = Field(None, description="Only this step.")
    last: int = Field(1_000, ge=2, le=10_000)
    measure: Measured = Field(None, description="What the seconds are held against; `cost_usd` without.")


class CommonQuery(Filters):
    """The slow ones of the sessions that fit."""

    slowest: float = Field(
        5.0, gt=0, le=50, description="How many percent of each pipeline and mode are slow."
    )
    over: Annotated[float | None, BeforeValidator(_empty_is_none)] = Field(
        None, ge=0, description="Instead: runs that took longer than so many seconds."
    )
    slow_since: MaybeMoment = Field(None, description="Instead, or of those, the runs since then, ...")
    slow_until: MaybeMoment = Field(None, description="... and before this: beside all others that fit.")
    step: MaybeName = Field(None, description="What is slow is this step, not the whole.")
    measure: Measured = Field(None, description="Instead of the duration: slow are those where it is worst.")
    last: int = Field(2_000, ge=1, le=10_000, description="So many of the newest sessions that fit.")


class HitsQuery(Filters):
    """A move of the sessions that fit."""

    at: MaybeMoment = Field(None, description="When it moved: the runs since then beside those before.")
    step: MaybeName = Field(None, description="What moved is this step, not the whole.")
    measure: Measured = OF_MEASURE
    failures: Annotated[bool, BeforeValidator(lambda value: value or False)] = Field(
        False, description="Instead: how many of the runs failed."
    )
    last: int = Field(2_000, ge=1, le=10_000, description="So many of the newest before, and since.")


class AlertsQuery(Query):
    """A page of alerts."""

    state: Literal["open", "all", AlertState] = "open"
    pipeline: MaybeName = Field(None, description="Only of this pipeline.")
    mode: MaybeMode = Field(None, description="Only of this mode: canonical JSON.")
    since: MaybeMoment = Field(None, description="Only of moves since then, or that are open still.")
    until: MaybeMoment = Field(None, description="Only of moves before; the same forms.")
    after: MaybeKey = None
    limit: int = Field(50, ge=1, le=MOST_ON_A_PAGE)


class AlertsOfRules(Query):
    """Whose alerts are counted."""

    pipeline: MaybeName = Field(None, description="Only of this pipeline.")
    mode: MaybeMode = Field(None, description="Only of this mode: canonical JSON.")
    since: MaybeMoment = Field(None, description="Only what happened at or after: 7d, 2026-01-31.")
    until: MaybeMoment = Field(None, description="Only what happened before; the same forms.")


class RulesQuery(AlertsOfRules):
    """Which rules, and whose alerts are counted."""

    measure: Measured = Field(None, description="Only rules that watch this measure.")


Tried = Annotated[float | None, BeforeValidator(_empty_is_none)]


class RuleQuery(AlertsOfRules):
    """How far to look back for what a rule would have flagged."""

    last: int = Field(50, ge=1, le=200, description="Sessions of each pipeline and mode.")
    limit: Tried = Field(None, description="Try this limit instead of the rule's.")
    percent: Tried = Field(None, description="Try this percentage instead.")
    target: Tried = Field(None, description="Try this target instead.")

    def tried(self) -> dict[str, float]:
        """Return the numbers that are tried instead of the rule's own."""
        given = {"limit": self.limit, "percent": self.percent, "target": self.target}
        return {name: value for name, value in given.items() if value is not None}
