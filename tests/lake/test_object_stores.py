"""A lake in a bucket whose server fails now and then: nothing is lost, doubled, or said that is secret.

Of: lake/place.py, lake/sealing.py.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pandas.testing import assert_frame_equal

import perfdb
from benchmarks.bucket import KEY, SECRET, Flaky, flaky_bucket, persistently
from perfdb.errors import PerfdbError
from perfdb.lake import engine
from perfdb.lake.archive import push
from perfdb.lake.place import HISTORY, Place
from perfdb.lake.sealing import seal
from perfdb.store.database import Database
from perfdb.store.ingest import insert_sessions
from perfdb.store.schema import ensure_schema
from perfdb.testing import make_session

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """Give the address of a bucket, with credentials, on a server that fails now and then."""
    with flaky_bucket(0.05) as address:
        yield address


@pytest.fixture
def source(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/source.sqlite3"
    ensure_schema(url)
    with Database(url) as database, database.writing() as connection:
        insert_sessions(connection, [make_session(n, {"load": 1.0 + n}) for n in range(24)])
    return url


def test_a_bucket_that_fails_loses_and_doubles_nothing(bucket: str, source: str) -> None:
    def send() -> None:
        with Database(source, migrates=False) as database:
            push(Place(bucket), database, sessions=5)

    persistently(send)
    sealers = [threading.Thread(target=persistently, args=(lambda: seal(Place(bucket)),)) for _ in range(2)]
    for each in sealers:
        each.start()
    for each in sealers:
        each.join()
    persistently(send)
    persistently(lambda: seal(Place(bucket)))
    assert Flaky.failed > 0
    place = Place(bucket)
    Flaky.noise = 0.0  # from here on it is well
    files = engine.files_of(place.open(HISTORY))
    found = engine.ask(place, files, "SELECT session_id FROM h WHERE step_name IS NULL ORDER BY ALL")
    assert found.column(0).to_pylist() == [f"run-{n:04d}" for n in range(24)]
    lake, database = perfdb.History(bucket), perfdb.History(source)
    assert_frame_equal(lake.sessions(), database.sessions())
    assert_frame_equal(lake.trends(by="day"), database.trends(by="day"))
    assert (lake.database, repr(lake)) == ("s3://lakes/fleet", "History('s3://lakes/fleet')")


def test_a_bucket_that_is_away_is_named_without_its_credentials() -> None:
    away = f"s3://{KEY}:{SECRET}@lakes/fleet?scheme=http&region=us-east-1&endpoint_override=127.0.0.1:1"
    with pytest.raises(PerfdbError, match="s3://lakes/fleet cannot be opened") as caught:
        perfdb.History(away).sessions()
    assert KEY not in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "named", ["../../../secret/s.parquet", "..%2Fs.parquet", "s3://secret/s.parquet", "/s.parquet"]
)
def test_a_log_that_names_files_of_another_bucket_is_refused(bucket: str, source: str, named: str) -> None:
    Flaky.noise = 0.0
    address = bucket.replace("/fleet", f"/hostile-{len(named)}")
    place = Place(address)
    with Database(source, migrates=False) as database:
        push(place, database)
    seal(place)
    (path,) = (file.path for file in engine.files_of(place.open(HISTORY)))
    (log,) = (name for name in place.names(f"{HISTORY}/_delta_log") if name.endswith("0.json"))
    content = place.read(f"{HISTORY}/_delta_log", log) or b""
    place.write(content.replace(path.encode(), named.encode()), f"{HISTORY}/_delta_log", log)
    for work in (perfdb.History(address).sessions, lambda: seal(Place(address))):
        with pytest.raises(PerfdbError, match="no file of its own"):
            work()
