"""The same is asked in this process and in the tasks of a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pandas.testing import assert_frame_equal

import perfdb
from perfdb.errors import StoreError
from perfdb.lake import statistics
from perfdb.lake.archive import push
from perfdb.lake.place import Place
from perfdb.lake.sealing import seal
from perfdb.store.database import Database
from perfdb.store.ingest import insert_sessions
from perfdb.store.schema import ensure_schema
from perfdb.testing import make_session

pytestmark = [pytest.mark.process, pytest.mark.filterwarnings("ignore")]  # of another library, in its threads


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Give the address of a cluster of two worker processes."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as started:
        yield started.scheduler_address


def test_a_cluster_of_two_workers_gives_the_same_answers(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/source.sqlite3"
    ensure_schema(url)
    first = make_session(0, {}).start_time
    with Database(url) as database, database.writing() as connection:
        made = [
            make_session(n, {"load": 1.0 + n % 7, "save": 0.1}, start_time=first + n * 7_200.0)
            for n in range(120)
        ]
        insert_sessions(connection, made)
        push(Place(str(tmp_path / "lake")), Database(url, migrates=False))
    seal(Place(str(tmp_path / "lake")))
    alone = perfdb.History(str(tmp_path / "lake"))
    ways = {by: alone.trends(by=by) for by in ("all", "day", "week")}  # type: ignore[arg-type]
    monkeypatch.setenv("PERFDB_DASK", cluster)
    monkeypatch.setattr(statistics, "_AT_ONCE", 20)  # several tasks
    ran = set()
    for by, expected in ways.items():
        assert_frame_equal(alone.trends(by=by), expected)  # type: ignore[arg-type]
    exactly = statistics.statistics
    monkeypatch.setattr(statistics, "_FROM_ROLLUPS", 0)
    monkeypatch.setattr(statistics, "statistics", lambda *a, **b: exactly(*a, exactly=True, **b))
    assert_frame_equal(alone.trends(by="all"), ways["all"])  # in two passes
    from distributed import Client

    with Client(cluster) as client:
        ran = set(client.run(os.getpid).values())
    assert len(ran - {os.getpid()}) == 2


def test_a_cluster_that_is_away_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from perfdb.lake import engine

    monkeypatch.setattr(engine, "_CONNECT_S", 0.2)
    monkeypatch.setenv("PERFDB_DASK", "tcp://user:s3cret@127.0.0.1:1")
    with pytest.raises(StoreError, match="PERFDB_DASK cannot be reached") as caught:
        list(engine.ask_each(Place(str(tmp_path)), [([], "SELECT 1")]))
    assert "s3cret" not in str(caught.value)
