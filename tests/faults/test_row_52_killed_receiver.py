"""A receiver of traces that is killed again and again: what it acknowledged is there, once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.mark.process
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_killed_receiver_of_traces_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """`python -m benchmarks.otlp` does it with 10,000 traces and 20 kills."""
    from benchmarks.otlp import lost_and_doubled

    assert lost_and_doubled(tmp_path, traces=100, requests=20, kills=3, seed=7) == (0, 0)
