"""Row 26: sessions that start in the same second, in several processes, have ids of their own."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Callable
from contextlib import suppress

from perfdb.errors import InvalidSessionIdError
from perfdb.vocabulary import SESSION_ID, check_session_id

STARTS = """
os.environ["PERFDB_WAIT_S"] = "0"  # the database is no part of this
tracker = perfdb.create_tracker(console=False, monitor=False)
print(*[tracker.start_pipeline() for _ in range(1_000)], flush=True)
os._exit(0)  # what it recorded is not looked at
"""


def test_a_thousand_starts_in_each_of_four_processes_have_ids_of_their_own(
    start: Callable[[str], subprocess.Popen[str]],
) -> None:
    said = [process.communicate(timeout=60)[0] for process in [start(STARTS) for _ in range(4)]]
    ids = " ".join(said).split()
    assert len(ids) == 4_000
    assert len(set(ids)) == 4_000


def test_an_id_is_checked_as_its_pattern_says() -> None:
    rng = random.Random(26)
    texts = ["", "a" * 128, "a" * 129, "a\n", "\xb2", "a\u0660"]
    texts += ["".join(rng.choices("aZ09_.-/ \xe9\n", k=rng.randint(1, 6))) for _ in range(20_000)]
    accepted = []
    for text in texts:
        with suppress(InvalidSessionIdError):
            accepted.append(check_session_id(text))
    assert len(accepted) > 1_000
    assert accepted == [text for text in texts if re.fullmatch(SESSION_ID, text)]
