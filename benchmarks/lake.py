"""What a lake costs: bytes, writing, sealing, questions, memory; and what is left of it after many deaths.

    python benchmarks/lake.py fill LAKE --steps 5000000      # nested and parallel steps, a year, 50 pipelines
    python benchmarks/lake.py ask LAKE                       # CPU seconds and memory of each question
    python benchmarks/lake.py workers LAKE                   # CPU seconds of one and of two Dask workers
    python benchmarks/lake.py seal LAKE --steps 1000000      # from pieces in the inbox
    python benchmarks/lake.py kills FOLDER --kills 100       # archivers and sealers die at random moments
    python benchmarks/lake.py kills FOLDER --bucket          # of a bucket that answers 503 and time-outs, too

CPU seconds are of the process and its children, which other load does not change much.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import perfdb
from perfdb.lake import engine, rollups, sealing
from perfdb.lake.archive import push
from perfdb.lake.inspection import examine
from perfdb.lake.place import HISTORY, Place
from perfdb.store.database import Database
from perfdb.store.ingest import insert_sessions
from perfdb.store.schema import ensure_schema
from perfdb.testing import make_session

START_US = 1_735_689_600_000_000  # 2025-01-01
DAY_US = 86_400_000_000
MODE = '{"fast_mode":false}'
ROLES = ("archive", "archive", "seal", "seal")
SOURCE = Path(__file__).resolve().parents[1]


# --- a large lake -------------------------------------------------------------------------------------------


def rows_of(day: int, sessions: int, pipelines: int, seed: int) -> Any:
    """Return a day's rows as Arrow: each session has 4 steps, a child of one and two side by side."""
    import numpy as np
    import pyarrow as pa

    from perfdb.lake.rows import conformed, series_of

    chance = np.random.default_rng(seed)
    pipeline = np.sort(chance.integers(0, pipelines, sessions))
    began = START_US + day * DAY_US + np.sort(chance.integers(0, DAY_US - 120_000_000, sessions))
    began = began[np.argsort(chance.random(sessions))]
    order = np.lexsort((began, pipeline))
    pipeline, began = pipeline[order], began[order]
    level = 200_000 * (1 + pipeline % 17)
    # load, its child fetch, then transform and upload side by side, then publish
    parts = {
        name: (level * share * chance.lognormal(0, 0.15, sessions)).astype("int64")
        for name, share in (("load", 1.0), ("transform", 2.0), ("upload", 1.5), ("publish", 0.5))
    }
    fetch = (parts["load"] * 0.6).astype("int64")
    after = began + parts["load"] + 1_500
    later = after + np.maximum(parts["transform"], parts["upload"]) + 1_500
    total = later + parts["publish"] - began + 2_000
    starts = {
        "load": began + 500,
        "fetch": began + 900,
        "transform": after,
        "upload": after + 40,
        "publish": later,
    }
    lengths = {**parts, "fetch": fetch}
    failed = chance.random(sessions) < 0.02
    stamp = (began // 1_000_000).astype("datetime64[s]").astype(str)
    hexes = chance.integers(0, 1 << 32, sessions)
    ids = [
        f"{t[:4]}{t[5:7]}{t[8:10]}_{t[11:13]}{t[14:16]}{t[17:]}_{h:08x}"
        for t, h in zip(stamp, hexes, strict=True)
    ]
    names = [None, "load", "fetch", "transform", "upload", "publish"]
    count = len(names)
    steps = np.stack([began, *(starts[name] for name in names[1:])], axis=1).ravel()
    durations = np.stack([total, *(lengths[name] for name in names[1:])], axis=1).ravel()
    is_last = np.tile(np.arange(count) == count - 1, sessions)
    is_total = np.tile(np.arange(count) == 0, sessions)
    failure = np.repeat(failed, count) & (is_last | is_total)
    texts = pa.array(ids).take(pa.array(np.repeat(np.arange(sessions), count)))
    known = pa.array([f"pipeline-{n:02d}" for n in range(pipelines)])
    table = pa.table(
        {
            "day": pa.array(np.full(len(steps), START_US // DAY_US + day, "int32")).cast(pa.date32()),
            "pipeline": known.take(pa.array(np.repeat(pipeline, count))),
            "mode": pa.array([MODE]).take(pa.array(np.zeros(len(steps), "int32"))),
            "series": pa.array(
                [series_of(f"pipeline-{p:02d}", s, MODE) for p in range(pipelines) for s in names]
            ).take(pa.array(np.repeat(pipeline, count) * count + np.tile(np.arange(count), sessions))),
            "session_id": texts,
            "began_us": np.repeat(began, count),
            "step_name": pa.array(names).take(pa.array(np.tile(np.arange(count), sessions))),
            "seq": pa.array(np.tile(np.arange(count), sessions), mask=is_total),
            "start_us": steps,
            "duration_us": durations,
            "source": pa.array(np.zeros(len(steps), "int8"), mask=~is_total),
            "utc_offset": pa.array(np.zeros(len(steps), "int32"), mask=~is_total),
            "fast_mode": pa.array(np.zeros(len(steps), bool), mask=~is_total),
            "success": pa.array(~np.repeat(failed, count), mask=~is_total),
            "status": pa.array(np.where(failure, 2, 1).astype("int8")),
            "counted": pa.array(~np.repeat(failed, count)),
            "excluded": pa.array(np.zeros(len(steps), bool)),
            "parent_seq": pa.array(
                np.where(np.tile(np.arange(count) == 2, sessions), 1, 0),
                mask=~np.tile(np.arange(count) == 2, sessions),
            ),
            "lane": pa.array(np.tile(np.array([0, 0, 0, 0, 1, 0], "int32"), sessions), mask=is_total),
        }
    )
    return conformed(table)


def fill(place: Place, steps: int, *, days: int, pipelines: int) -> dict[str, Any]:
    """Write a lake of so many steps (without the sessions' rows)."""
    import pyarrow as pa

    from perfdb.lake.writing import commit

    place.create()
    sessions = max(1, steps // days // 5)
    spent = rows = 0.0
    at_once = max(1, 1_000_000 // (6 * sessions))  # days in one commit
    for first in range(0, days, at_once):
        some = range(first, min(days, first + at_once))
        table = pa.concat_tables([rows_of(day, sessions, pipelines, day) for day in some])
        before = cpu()
        assert commit(place, place.open(HISTORY), table)
        spent += cpu() - before
        rows += len(table)
    before = cpu()
    rollups.bring_up_to_date(place)
    files = engine.files_of(place.open(HISTORY))
    return {
        "rows": int(rows),
        "bytes_per_row": round(sum(file.size for file in files) / rows, 2),
        "written_rows_per_cpu_s": round(rows / spent),
        "summed_up_rows_per_cpu_s": round(rows / (cpu() - before)),
    }


def cpu() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    return sum(
        getattr(resource.getrusage(who), name)
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        for name in ("ru_utime", "ru_stime")
    )


def questions(text: str) -> dict[str, Callable[[], Any]]:
    """Return what is asked of a lake, each of a fresh door."""
    from perfdb.analysis.series import PERCENTILES
    from perfdb.lake.statistics import statistics

    wanted = list(PERCENTILES.values())
    return {
        "percentiles of all, exactly": lambda: statistics(Place(text), wanted, by="all", exactly=True),
        "percentiles by day, exactly": lambda: statistics(Place(text), wanted, by="day", exactly=True),
        "percentiles of all, roll-ups": lambda: statistics(Place(text), wanted, by="all", exactly=False),
        "percentiles by day, roll-ups": lambda: statistics(Place(text), wanted, by="day", exactly=False),
        "last 1,000 sessions, read": lambda: last_sessions(text),
        "last 1,000 sessions, frame": lambda: perfdb.History(text).sessions(
            last=1000, pipeline="pipeline-07"
        ),
        "bottlenecks of 100": lambda: perfdb.History(text).bottlenecks(pipeline="pipeline-07"),
    }


def last_sessions(text: str) -> int:
    """Read the rows of the last 1,000 sessions of a pipeline."""
    from perfdb.lake.windows import Asked, read

    place = Place(text)
    return len(read(place, place.open(HISTORY), Asked({"pipeline": "pipeline-07", "last": 1000}))[0])


def measure(text: str, name: str) -> dict[str, Any]:
    """Ask one question in this process; twice, the second time with everything loaded."""
    ask = questions(text)[name]
    ask()
    before, begun = cpu(), time.perf_counter()
    ask()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "question": name,
        "cpu_s": round(cpu() - before, 3),
        "wall_s": round(time.perf_counter() - begun, 3),
        "peak_mib": round(peak),
    }


def workers(text: str, *, rounds: int = 5) -> dict[str, Any]:
    """Ask one worker and two for the percentiles by day, by turns; return the workers' CPU seconds."""
    import os
    from statistics import median

    from distributed import Client, LocalCluster

    ask = questions(text)["percentiles by day, exactly"]
    spent: dict[int, list[float]] = {1: [], 2: []}
    peak = 0.0
    clusters = {
        n: LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address=None, host="127.0.0.1")
        for n in spent
    }
    for turn in range(rounds + 1):
        for n, cluster in clusters.items():
            os.environ["PERFDB_DASK"] = cluster.scheduler_address
            with Client(cluster) as client:
                before = sum(client.run(time.process_time).values())
                ask()
                after = sum(client.run(time.process_time).values())
                peak = max(peak, *client.run(peak_mib).values())
            if turn:
                spent[n].append(after - before)
    for cluster in clusters.values():
        cluster.close()
    ratio = median(two / one for one, two in zip(*spent.values(), strict=True))
    return {
        "cpu_s": {n: [round(each, 2) for each in values] for n, values in spent.items()},
        "ratio": round(ratio, 3),
        "peak_mib": round(peak),
    }


def peak_mib() -> float:
    """Return the most memory that this process had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# --- deaths -------------------------------------------------------------------------------------------------


def loop(role: str, lake: str, url: str) -> None:
    """Archive or seal again and again, until killed."""
    import deltalake
    import duckdb
    import pyarrow.parquet

    place = Place(lake)
    print(len({deltalake, duckdb, pyarrow.parquet}), flush=True)  # everything is loaded
    while True:
        with contextlib.suppress(perfdb.PerfdbError):
            if role == "archive":
                with Database(url, migrates=False) as database:
                    push(place, database, sessions=7)
            else:
                sealing.seal(place, today=True)
        time.sleep(0.01)


def started(role: str, lake: str, url: str) -> subprocess.Popen[bytes]:
    """Start a process that does so."""
    code = f"from benchmarks.lake import loop; loop({role!r}, {lake!r}, {url!r})"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=SOURCE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def survive(
    lake: str, folder: Path, *, kills: int, seed: int = 0, roles: tuple[str, ...] = ROLES
) -> dict[str, int]:
    """Kill archivers and sealers at random moments while sessions come; return what is lost and doubled."""
    from benchmarks.bucket import Flaky, persistently

    chance = random.Random(seed)
    url = f"sqlite:///{folder}/source.sqlite3"
    ensure_schema(url)
    number = 0
    place = Place(lake)
    persistently(place.create)
    with Database(url) as database:

        def record(count: int) -> None:
            nonlocal number
            made = [make_session(n, {"load": 1.0, "save": 0.5}) for n in range(number, number + count)]
            with database.writing() as connection:
                insert_sessions(connection, made)
            number += count

        def change() -> None:  # of what was pushed long ago, or is being pushed
            source = perfdb.History(url)
            for _ in range(3):
                name = f"run-{chance.randrange(number):04d}"
                (source.untag if "red" in source.session(name).tags else source.tag)(name, "red")

        record(40)
        running = {n: started(role, lake, url) for n, role in enumerate(roles)}
        killed = 0
        try:
            while killed < kills:
                record(chance.randint(5, 20))
                change()
                time.sleep(chance.uniform(0.05, 1.5))
                victim = chance.choice(list(running))
                running[victim].send_signal(signal.SIGKILL)
                running[victim].communicate()
                killed += 1
                if chance.random() < 0.2:  # it loses track, and sends again
                    persistently(lambda: lose_track(place))
                running[victim] = started(roles[victim], lake, url)
        finally:
            for process in running.values():
                process.kill()
                process.communicate()
        for _ in range(2):
            persistently(lambda: push(place, database))
            persistently(lambda: sealing.seal(place, today=True))
    Flaky.noise = 0.0
    sealing.seal(place, today=True)
    files = engine.files_of(place.open(HISTORY))
    removed = sealing.vacuum(place, older_than=timedelta(0))
    found = Counter(engine.ask(place, files, "SELECT session_id FROM h").column(0).to_pylist())
    rows = engine.ask(place, files, "SELECT count(*)::BIGINT AS n FROM h").column(0).to_pylist()[0]
    tagged = engine.ask(place, files, "SELECT session_id FROM h WHERE contains(tags, 'red')").column(0)
    red = set(perfdb.History(url).sessions(tag="red")["session_id"])
    return {
        "kills": killed,
        "failed requests": Flaky.failed,
        "sessions": number,
        "lost": number - len(found),
        "doubled": sum(count > 3 for count in found.values()),
        "cut": 3 * number - rows if number == len(found) else -1,
        "tagged": len(red),
        "wrong tags": len(red ^ set(tagged.to_pylist())),
        "removed": removed,
        "orphans": sum(check == "orphans" for check, _, _ in examine(place)),
        "waiting": len(place.names("inbox")),
    }


def lose_track(place: Place) -> None:
    """Forget where the sources stand."""
    with place.in_words("changed"):
        for name in place.names("sources"):
            place.remove("sources", name)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["fill", "ask", "one", "workers", "seal", "kills"])
    parser.add_argument("lake")
    parser.add_argument("--steps", type=int, default=5_000_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--pipelines", type=int, default=25)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--question")
    parser.add_argument("--bucket", action="store_true")
    given = parser.parse_args()
    if given.what == "fill":
        print(fill(Place(given.lake), given.steps, days=given.days, pipelines=given.pipelines))
    elif given.what == "ask":
        for name in questions(given.lake):  # each in a process of its own, for its memory
            asked = [sys.executable, __file__, "one", given.lake, "--question", name]
            print(
                subprocess.run(asked, check=True, capture_output=True, text=True).stdout, end="", flush=True
            )
    elif given.what == "one":
        print(measure(given.lake, given.question))
    elif given.what == "workers":
        print(workers(given.lake))
    elif given.what == "seal":
        print(sealed(Place(given.lake), given.steps))
    else:
        folder = Path(given.lake)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        from benchmarks.bucket import flaky_bucket

        if given.bucket:
            with flaky_bucket(0.02, hang_s=8.0) as address:
                print(survive(address, folder, kills=given.kills))
        else:
            print(survive(str(folder / "lake"), folder, kills=given.kills))


def sealed(place: Place, steps: int) -> dict[str, Any]:
    """Seal pieces of an inbox, as hosts push them."""
    import io
    import json

    import pyarrow.parquet as pq

    from perfdb.lake.place import INBOX

    place.create()
    rows = 0
    for host in range(8):
        table = rows_of(host % 2, steps // 8 // 5, 25, 1000 + host)
        content = io.BytesIO()
        note = {"generation": "x", "to": len(table), "last": 1, "name": "", "held": []}
        pq.write_table(
            table.replace_schema_metadata({b"perfdb": json.dumps(note)}), content, compression="zstd"
        )
        place.write(content.getvalue(), INBOX, f"host{host}-x.0-{len(table)}.parquet")
        rows += len(table)
    before = cpu()
    done = sealing.seal(place)
    return {
        "rows": rows,
        "sealed": done.sessions + done.steps,
        "rows_per_cpu_s": round(rows / (cpu() - before)),
    }


if __name__ == "__main__":
    sys.path.insert(0, str(SOURCE))
    main()
