"""No key reaches a log, whatever the libraries that the pathway calls write there."""

from __future__ import annotations

import gc
import io
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus

import pytest

from perfdb.pathway import logs
from perfdb.pathway.settings import PathwaySettings
from perfdb.pathway.standin import faults

ODD_KEY = "odd/key+with=signs&0123456789abcdef"


@pytest.fixture
def debug_log() -> Iterator[io.StringIO]:
    """Return what a program with ``logging.basicConfig(level=DEBUG)`` has in its log."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("search", None),
        ("search", faults.DROPPED),
        ("search", faults.serpapi_error(401, "bad key")),
        ("search", faults.Fault(variant="redirect")),
        ("vision", faults.DROPPED),
        ("vision", faults.unauthorized()),
        ("image", faults.TRUNCATED),
    ],
)
def test_no_key_is_logged_at_debug(
    make_pathway: Any, room: bytes, standin: Any, debug_log: io.StringIO, kind: str, fault: Any
) -> None:
    pathway = make_pathway(max_attempts=1, serpapi_api_key=ODD_KEY)
    if fault is not None:
        standin.faults.always(kind, fault)
    pathway.generate(room)

    text = debug_log.getvalue()
    assert "openai" in text or "HTTP" in text  # they did log
    for key in (pathway.settings.openai_api_key, ODD_KEY, quote_plus(ODD_KEY)):
        assert key not in text


def test_no_picture_is_logged(pathway: Any, room: bytes, debug_log: io.StringIO) -> None:
    pathway.generate(room)

    assert max(len(line) for line in debug_log.getvalue().splitlines()) < 25_000
    assert "/9j/" not in debug_log.getvalue()  # how a JPEG begins in base64


def test_exceptions_and_extras_are_redacted_too(make_pathway: Any, debug_log: io.StringIO) -> None:
    key = make_pathway().settings.serpapi_api_key
    logger = logging.getLogger("urllib3.connectionpool")
    kept: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = kept.append  # type: ignore[method-assign]
    logger.addHandler(handler)
    try:
        raise ValueError(f"cannot reach https://serpapi.com/search?api_key={key}")
    except ValueError:
        logger.exception("at %s", f"?api_key={key}", extra={"address": f"?key={key}", "attempt": 1})
    logger.error("%d of %s", "no number", key)
    logger.removeHandler(handler)

    assert "ValueError: cannot reach" in debug_log.getvalue()
    assert key not in debug_log.getvalue()
    assert not any(key in repr(record.__dict__) for record in kept)
    assert kept[0].attempt == 1  # type: ignore[attr-defined]


def test_a_logger_that_a_library_makes_later_is_covered(
    make_pathway: Any, room: bytes, debug_log: io.StringIO
) -> None:
    pathway = make_pathway()
    late = logging.getLogger("httpx.made_later")
    pathway.generate(room)

    late.info("Authorization: Bearer %s", pathway.settings.openai_api_key)

    assert pathway.settings.openai_api_key not in debug_log.getvalue()


def filters() -> list[str]:
    names = ["urllib3.connectionpool", "openai._base_client", "httpx", "requests"]
    return [name for name in names if logs._redacted in logging.getLogger(name).filters]


def test_the_filter_is_there_as_long_as_a_pathway_is_open(make_pathway: Any) -> None:
    first, second = make_pathway(), make_pathway()
    first.close()
    first.close()
    assert "urllib3.connectionpool" in filters()
    second.close()
    assert filters() == []


def test_it_goes_with_a_pathway_that_nobody_closes(standin: Any, home: Any) -> None:
    from perfdb.pathway import RealProductsPathway
    from perfdb.settings import load

    RealProductsPathway(standin.settings(), perfdb_settings=load(console=False, monitor=False))
    gc.collect()

    assert filters() == []


def test_records_of_others_stay_as_they_are(make_pathway: Any) -> None:
    make_pathway()
    record = logging.LogRecord("mine", logging.INFO, "", 0, "%s", ("value",), None)

    assert logging.getLogger("mine").filter(record)
    assert record.args == ("value",)


def test_the_end_of_the_guard_is_counted_once() -> None:
    settings = PathwaySettings(openai_api_key="sk-one-of-them")
    end_first, end_second = logs.guard(settings), logs.guard(settings)
    end_first()
    end_first()
    assert filters() != []
    end_second()
    assert filters() == []


def test_no_error_hangs_on_to_the_library_s_own(make_pathway: Any, standin: Any) -> None:
    from perfdb.pathway import search
    from perfdb.pathway.errors import ServiceError

    pathway = make_pathway(max_attempts=1)
    standin.faults.always("search", faults.DROPPED)
    with pytest.raises(ServiceError) as caught:
        search._page(pathway._serpapi, "sofa", pathway.settings)

    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
