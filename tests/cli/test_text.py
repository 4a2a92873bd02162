"""What a terminal shows is folded where a reader would end a line.

Of: cli/measures.py, cli/render.py, cli/sessions.py, cli/text.py.
"""

from __future__ import annotations

import pytest

from perfdb.cli.text import folded


@pytest.mark.parametrize(
    ("said", "whole"),
    [
        ("It took 12.34 s of all", "12.34 s"),
        ("It took 2 min 05 s of all", "2 min 05 s"),
        ("It is 46 % longer than it was", "46 %"),
        ("It was counted, n = 1,234", "n = 1,234"),
        ("It is stage-with-a-name-of-hyphens that moved", "stage-with-a-name-of-hyphens"),
        ("No open alert. What is watched: perfdb rules", "perfdb rules"),
        ("Details: perfdb alerts explain 10; then: perfdb rules", "perfdb alerts explain 10;"),
    ],
)
def test_no_line_ends_within_a_figure_a_name_or_a_command(said: str, whole: str) -> None:
    for columns in range(2 * len(whole), len(said) + 8):
        lines = folded(said, columns)
        assert any(whole in line for line in lines), f"{columns} columns: {lines}"
        assert max(map(len, lines)) <= columns
        assert " ".join(lines) == said


def test_a_command_that_is_longer_than_half_a_line_is_folded_between_its_words() -> None:
    said = "See: perfdb regressions --pipeline design --step Load --since 30d"
    lines = folded(said, 40)
    assert max(map(len, lines)) <= 40
    assert " ".join(lines) == said
