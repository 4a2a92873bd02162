"""The pages over a lake: each answers, and none says that all is well where nobody judges.

Of: web/health.py.
"""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

import perfdb
from perfdb.cli import main
from perfdb.errors import StoreError
from perfdb.lake.archive import push
from perfdb.lake.place import Place
from perfdb.lake.sealing import seal
from perfdb.store.database import Database
from perfdb.store.ingest import insert_sessions
from perfdb.store.schema import ensure_schema
from perfdb.testing import make_session
from perfdb.web.app import create_app
from perfdb.web.views.page import PAGES

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("pages")
    url = f"sqlite:///{folder}/source.sqlite3"
    ensure_schema(url)
    with Database(url) as database:
        with database.writing() as connection:
            insert_sessions(
                connection, [make_session(n, {"load": 1.0 + n % 3, "save": 0.5}) for n in range(40)]
            )
        push(Place(str(folder / "lake")), database)
    seal(Place(str(folder / "lake")))
    return str(folder / "lake")


@pytest.mark.parametrize(
    "page",
    [*PAGES.values(), "/pareto", "/pipelines", "/pipelines/design", "/sessions/run-0003", "/report"],
)
def test_a_page_answers(lake: str, page: str) -> None:
    with TestClient(
        create_app(perfdb.History(lake), query_limit_s=300.0), base_url="http://127.0.0.1"
    ) as client:
        answer = client.get(page)
    assert answer.status_code == 200
    for word in ("All is well", "No alert fires", "none of them firing"):
        assert word not in answer.text


def test_a_quiet_lake_is_no_all_clear(lake: str) -> None:
    history = perfdb.History(lake)
    for ask in (history.alerts, history.check):
        with pytest.raises(StoreError, match="is a lake"):
            ask()
    for verb in ("alerts", "check"):
        with pytest.raises(SystemExit) as ended:
            main([verb, "-d", lake])
        assert ended.value.code == 2
