"""Both databases say the same of the same history, to the last digit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.answers.conftest import fill
from tests.answers.histories import LEAST_LIVE, LIVE
from tests.answers.known import cases
from tests.answers.surfaces import Asked
from tests.answers.test_filters import COMMANDS
from tests.answers.test_metamorphic import QUESTIONS, differences, mapped

OTHERS = (("alerts", "list", "--state", "all"), ("rules",), ("check",), ("violations",), *COMMANDS.values())
TEXTS = ("started_at", "ended_at")


def both(
    histories: Callable[[str], Asked], create_database: Callable[..., str], folder: Path, name: str
) -> tuple[Asked, Asked]:
    ours = histories(name)
    url = create_database()
    fill(url, ours.sessions, folder, live=LEAST_LIVE * (name in LIVE))
    return ours, Asked(name, url, ours.sessions, ours.now)


@pytest.mark.parametrize("name", ["failing", "nested", "parallel", "reserved", "two_modes", "mixed"])
def test_postgresql_says_what_sqlite_says(
    histories: Callable[[str], Asked], create_database: Callable[..., str], answers_folder: Path, name: str
) -> None:
    ours, theirs = both(histories, create_database, answers_folder, name)
    found = []
    for words in dict.fromkeys((*QUESTIONS, *OTHERS)):
        if ours.command(*words, "--json").code == 2:
            assert theirs.command(*words, "--json").code == 2
            continue
        rows = (mapped(asked.json(*words), _without_texts) for asked in (ours, theirs))
        found += [f"{' '.join(words)} {where}" for where in differences(*rows)]
    assert found == []


def _without_texts(name: str, value: Any) -> Any:
    return "" if name in TEXTS else value


@pytest.mark.parametrize("case", cases("instants", [("as text",)]))
def test_an_instant_is_the_same_text(
    histories: Callable[[str], Asked], create_database: Callable[..., str], answers_folder: Path, case: str
) -> None:
    ours, theirs = both(histories, create_database, answers_folder, "nested")
    rows = (
        [{name: row[name] for name in TEXTS} for row in asked.json("sessions", "--last", "300")]
        for asked in (ours, theirs)
    )
    assert differences(*rows) == []
