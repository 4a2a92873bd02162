"""Empty and migrated databases for all tests: SQLite files, and a PostgreSQL cluster of our own.

One cluster serves a whole run with all its workers; a test that stops its server starts one for itself.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from benchmarks.cluster import Cluster, NoServerError, running_cluster
from perfdb import recorder
from perfdb.recording.context import current, running
from perfdb.store.schema import ensure_schema
from tests import durations, once, tiers
from tests.once import Run

DATABASES = pytest.StashKey[list[str]]()  # those that a test made


def pytest_addoption(parser: pytest.Parser) -> None:
    words = "keep which tests take long in tests/durations.txt; for a quiet machine"
    parser.addoption("--note-durations", action="store_true", help=words)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Let a worker that has nothing left to do take over what another one has waiting."""
    if config.getoption("numprocesses", None) and config.option.dist == "no":
        config.option.dist = "worksteal"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Take a worker more than there are processors: a third of the time tests wait for what they started."""
    return None if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else (os.cpu_count() or 1) + 1


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C reach the programs that tests start: what a shell put in the background ignores it.

    No property has a deadline: a busy machine is no fault of it.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of programs would each compile perfdb anew
    hypothesis.settings.register_profile("perfdb", deadline=None)
    hypothesis.settings.load_profile("perfdb")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for tier, meaning in tiers.TIERS.items():
        config.addinivalue_line("markers", f"{tier}: a test that {meaning}; set by itself")
    tiers.watch()
    if config.getoption("--note-durations") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(durations.Durations())


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker which run it belongs to."""
    node.workerinput["perfdb_run"] = Run.of(node.config).for_worker()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what the workers shared; after Ctrl-C too."""
    if once.KEY in config.stash:
        Run.of(config).end()


@pytest.hookimpl(tryfirst=True)  # before -m looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tiers.mark_and_sort(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    with tiers.guarded(item):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with tiers.guarded(item):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Drop the databases of a test once all that used them has ended."""
    yield
    if DATABASES in item.stash:
        Run.of(item.config).cluster().drop(item.stash[DATABASES])


@pytest.fixture(autouse=True)
def nothing_is_current() -> None:
    """Let no test find the step that another one left open, nor a thread that tries its message again."""
    for worker in recorder._all_workers():
        worker.alerting.end_thread()
    current.set(None)
    running.clear()


@pytest.fixture(scope="session")
def run_of_tests(request: pytest.FixtureRequest) -> Run:
    """Give what the workers of this run share."""
    return Run.of(request.config)


@contextmanager
def _skipped_without_server() -> Iterator[None]:
    try:
        yield
    except NoServerError as error:
        pytest.skip(f"{error}: its half of the tests does not run")


@pytest.fixture(scope="session")
def cluster(run_of_tests: Run) -> Cluster:
    """Give the one running server of this run; it stays up."""
    with _skipped_without_server():
        return run_of_tests.cluster()


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """Give a running server that the test may stop and start."""
    with _skipped_without_server(), running_cluster(durable=False) as running:
        yield running


@pytest.fixture(scope="session")
def postgres(cluster: Cluster) -> str:
    """Give the URL of the server, without a database."""
    return cluster.url


@pytest.fixture
def create_database(request: pytest.FixtureRequest, cluster: Cluster) -> Callable[..., str]:
    """Give a function that makes a database for this test (``template``: from another one), and its URL."""

    def create(template: str = "template1") -> str:
        tiers.refuse("PostgreSQL")
        url = cluster.create(template)
        request.node.stash.setdefault(DATABASES, []).append(url)
        return url

    return create


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give an empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/perfdb.sqlite3"
    url: str = request.getfixturevalue("create_database")()
    return url


@pytest.fixture(scope="session")
def migrated_file(run_of_tests: Run) -> Path:
    """Give a SQLite file with all tables, to copy: a migration takes a quarter of a second."""

    def make() -> str:
        path = run_of_tests.folder / "migrated.sqlite3"
        ensure_schema(f"sqlite:///{path}")
        return str(path)

    return Path(run_of_tests.once("migrated_file", make))


@pytest.fixture(scope="session")
def migrated_database(run_of_tests: Run, cluster: Cluster) -> str:
    """Give the name of a PostgreSQL database with all tables, to copy."""

    def make() -> str:
        url = cluster.create()
        ensure_schema(url)
        return url.rpartition("/")[2]

    return run_of_tests.once("migrated_database", make)


@pytest.fixture(params=["sqlite", "postgresql"])
def migrated_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give a database of either kind with all tables."""
    if request.param == "sqlite":
        path = shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "perfdb.sqlite3")
        return f"sqlite:///{path}"
    template = request.getfixturevalue("migrated_database")
    url: str = request.getfixturevalue("create_database")(template)
    return url
