"""What the documentation grants is enough to record, to prune and to query, and no more.

Of: store/upkeep/space.py.
"""

from __future__ import annotations

import fcntl
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

import perfdb
from perfdb.store.database import Database
from perfdb.store.engine import connected
from perfdb.store.ingest import insert_sessions
from perfdb.store.rollups import roll_up
from perfdb.store.schema import check, ensure_schema, require_schema
from perfdb.store.upkeep.copying import copy_history
from perfdb.store.upkeep.pruning import Policy, find_shares, prune
from perfdb.store.upkeep.space import compact
from perfdb.testing import NOON, make_history, make_session
from tests.once import Run

DOCUMENT = Path(__file__).parents[2] / "docs" / "postgresql.md"
ROLES = ("perfdb_writer", "perfdb_pruner", "perfdb_reader")
DAY_S = 86_400.0


@pytest.fixture
def only_one(run_of_tests: Run) -> Iterator[None]:
    """Let one worker at a time have its tests here: roles are of the whole server, which all share."""
    with open(run_of_tests.folder / "roles.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def urls(
    only_one: None, create_database: Callable[..., str], migrated_database: str
) -> Iterator[dict[str, str]]:
    """Give the URLs of a database by role; the owner has granted what the documentation says."""
    owner = create_database(migrated_database)
    grants = re.search(r"```sql\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert grants is not None
    engine = create_engine(
        owner.replace("postgresql:", "postgresql+psycopg:", 1), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        for role in ROLES:
            connection.execute(text(f"CREATE ROLE {role} LOGIN"))
        for statement in re.sub("--.*", "", grants[1]).split(";"):
            if statement.strip():
                connection.execute(text(statement))
        yield {
            role: make_url(owner).set(username=role).render_as_string(hide_password=False) for role in ROLES
        } | {"owner": owner}
        for role in ROLES:
            connection.execute(text(f"DROP OWNED BY {role}"))
            connection.execute(text(f"DROP ROLE {role}"))
    engine.dispose()


def test_each_role_can_do_its_work(urls: dict[str, str]) -> None:
    with Database(urls["perfdb_writer"]) as database:
        with database.writing() as connection:
            insert_sessions(
                connection, [make_session(number, {"load": 1.0}, every_s=DAY_S) for number in range(12)]
            )
        assert len(list(roll_up(database))) == 12
    with Database(urls["perfdb_pruner"]) as database:
        now = NOON + 100 * DAY_S
        gone = list(prune(database, find_shares(database, Policy(keep_last=2), now), now))
        assert sum(map(len, gone)) == 10
    history = perfdb.History(urls["perfdb_reader"])
    assert len(history.sessions()) == 2
    assert history.trends(by="all")["n"].tolist() == [12, 12]
    with pytest.raises(perfdb.PerfdbError, match="permission denied"):
        history.tag("run-0011", "ignore")
    compact(urls["owner"])
    with pytest.raises(perfdb.PerfdbError, match="only table or database owner"):
        compact(urls["perfdb_writer"])


def test_several_hosts_and_services_are_addresses_too(
    urls: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_url(urls["owner"])
    with Database(urls["owner"]) as database, database.writing() as connection:
        insert_sessions(connection, [make_session(0, {"load": 1.0})])
    where = {
        "user": url.username,
        "dbname": url.database,
        "host": url.host or url.query.get("host"),
        "port": url.port,
    }
    known = {name: value for name, value in where.items() if value is not None}
    (tmp_path / "services").write_text("[perfdb]\n" + "".join(f"{name}={known[name]}\n" for name in known))
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    hosts = f"host=127.0.0.1:1&host={known['host']}:{known.get('port', 5432)}&target_session_attrs=read-write"
    for address in ("postgresql:///?service=perfdb", f"postgresql://{url.username}@/{url.database}?{hosts}"):
        assert len(perfdb.History(address).sessions()) == 1, address


@pytest.mark.parametrize("schema", ["perfdb", 'Perf-DB "%s" é; --x'])
def test_a_schema_of_its_own_beside_tables_of_others(
    create_database: Callable[..., str], tmp_path: Path, schema: str
) -> None:
    url = create_database()
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:", 1), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE sessions (whose text)"))
        quoted = '"{}"'.format(schema.replace('"', '""'))
        connection.exec_driver_sql(f"CREATE SCHEMA {quoted}".replace("%", "%%"))
    options = f"-csearch_path={quoted}".replace(" ", "\\ ")
    own = make_url(url).update_query_dict({"options": options}).render_as_string(False)
    history = make_history(own, [])
    with Database(own) as database, database.writing() as connection:
        insert_sessions(connection, [make_session(0, {"load": 1.0})])
    assert len(history.sessions()) == 1
    assert check(own) == []
    compact(own)
    assert not any(each.wrong for each in copy_history(own, f"sqlite:///{tmp_path / 'a.sqlite3'}"))
    assert not any(each.wrong for each in copy_history(f"sqlite:///{tmp_path / 'a.sqlite3'}", own))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM public.sessions")).scalar() == 0
    engine.dispose()


@pytest.mark.parametrize("role", ["perfdb_reader", "owner"])
def test_what_another_role_planted_out_of_sight_is_refused(
    urls: dict[str, str], role: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A member of its own extension, a trigger where it was granted one, a schema named as who asks."""
    asking = make_url(urls[role]).username
    planted = [
        """CREATE EXTENSION hstore SCHEMA public;
        CREATE FUNCTION public.length(varchar) RETURNS int LANGUAGE sql AS 'SELECT 1';
        ALTER EXTENSION hstore ADD FUNCTION public.length(varchar)""",
        """CREATE FUNCTION public.planted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER t BEFORE INSERT ON public.sessions EXECUTE FUNCTION public.planted()""",
        f'CREATE SCHEMA "{asking}"; GRANT USAGE ON SCHEMA "{asking}" TO PUBLIC',
    ]
    engine = create_engine(
        urls["owner"].replace("postgresql:", "postgresql+psycopg:", 1), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(text("CREATE ROLE planter LOGIN"))
        try:
            for statement in planted:
                connection.execute(text("GRANT CREATE, USAGE ON SCHEMA public TO planter"))
                connection.execute(text("GRANT TRIGGER ON ALL TABLES IN SCHEMA public TO planter"))
                connection.execute(text(f'GRANT CREATE ON DATABASE "{engine.url.database}" TO planter'))
                connection.execute(text("SET ROLE planter"))
                connection.exec_driver_sql(statement)
                connection.execute(text("RESET ROLE"))
                with Database(urls[role]) as database:
                    with pytest.raises(perfdb.StoreError, match="another role"), database.reading():
                        pass
                    with pytest.raises(perfdb.StoreError, match="another role"), database.writing():
                        pass
                connection.execute(text("DROP OWNED BY planter CASCADE"))
            assert len(perfdb.History(urls[role]).sessions()) == 0
        finally:
            connection.execute(text("RESET ROLE"))
            connection.execute(text("DROP OWNED BY planter CASCADE"))
            connection.execute(text("DROP ROLE planter"))
    engine.dispose()
    assert not caplog.records  # no traceback of a pool


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "planted",
    [
        "FUNCTION public.quote_ident(name) RETURNS text LANGUAGE sql AS $$SELECT 'x'$$",
        "FUNCTION public.coalesced(float8, int4) RETURNS float8 LANGUAGE sql AS 'SELECT 1.0::float8'",
        "OPERATOR public.> (LEFTARG = float8, RIGHTARG = int4, FUNCTION = public.coalesced)",
    ],
)
def test_what_another_role_put_beside_the_tables_is_not_run(
    urls: dict[str, str], role: str, planted: str
) -> None:
    engine = create_engine(
        urls["owner"].replace("postgresql:", "postgresql+psycopg:", 1), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(text("CREATE ROLE planter LOGIN"))
        connection.execute(text("GRANT CREATE, USAGE ON SCHEMA public TO planter"))
        try:
            connection.execute(text("SET ROLE planter"))
            if "OPERATOR" in planted:
                made = "FUNCTION public.coalesced(float8, int4) RETURNS bool LANGUAGE sql AS 'SELECT true'"
                connection.execute(text(f"CREATE {made}"))
            connection.execute(text(f"CREATE {planted}"))
            connection.execute(text("RESET ROLE"))
            with connected(urls[role], role="reader") as reading:
                if "coalesced(float8, int4) RETURNS" in planted:  # no name of PostgreSQL's own
                    require_schema(reading)
                else:
                    with pytest.raises(perfdb.StoreError, match="another role of the server"):
                        require_schema(reading)
        finally:
            connection.execute(text("RESET ROLE"))
            connection.execute(text("DROP OWNED BY planter"))
            connection.execute(text("DROP ROLE planter"))
    engine.dispose()


def test_tables_that_anybody_may_have_made_first_are_not_used(
    only_one: None, create_database: Callable[[], str]
) -> None:
    """Their owner may have given them triggers, rules and defaults; the schema's own may do so anyway."""
    url = create_database()
    as_planter = make_url(url).set(username="planter").render_as_string(hide_password=False)
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:", 1), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("CREATE ROLE planter LOGIN"))
        try:
            connection.execute(text("GRANT CREATE ON SCHEMA public TO PUBLIC"))
            ensure_schema(as_planter)
            with Database(as_planter) as database, database.writing() as writing:
                insert_sessions(writing, [make_session(0, {"load": 1.0})])
            with Database(url) as database:
                with pytest.raises(perfdb.StoreError, match="everybody may make"), database.reading():
                    pass
                with pytest.raises(perfdb.StoreError, match="everybody may make"), database.writing():
                    pass
            connection.execute(text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
            assert len(perfdb.History(url).sessions()) == 1
            connection.execute(text("GRANT CREATE ON SCHEMA public TO PUBLIC"))
            connection.execute(text("ALTER SCHEMA public OWNER TO planter"))
            assert len(perfdb.History(url).sessions()) == 1
        finally:
            connection.execute(text("ALTER SCHEMA public OWNER TO pg_database_owner"))
            connection.execute(text("DROP OWNED BY planter CASCADE"))
            connection.execute(text("DROP ROLE planter"))
    engine.dispose()
