"""The service keeps what its OpenAPI promises, whatever is asked: schemathesis makes the questions up.

Of: pathway/problems.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from perfdb.pathway import RealProductsPathway
from perfdb.pathway.api import create_app
from perfdb.pathway.standin import StandIn
from perfdb.settings import load

OPERATIONS = [
    ("/health", "get"),
    ("/designs", "post"),
    ("/designs/{design_id}", "get"),
    ("/designs/{design_id}", "delete"),
    ("/designs/{design_id}/image", "get"),
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, make_served: Any) -> Iterator[str]:
    """Return the address of a service."""
    folder = tmp_path_factory.mktemp("service")
    served = make_served()
    with StandIn() as standin:
        settings = standin.settings(composite_width=640, output_dir=folder / "designs")
        recorded = load(home=folder / "home", console=False, monitor=False, wait_s=30)
        client = served(create_app(lambda: RealProductsPathway(settings, perfdb_settings=recorded)))
        yield str(client.base_url).rstrip("/")
        served.stop()


@pytest.fixture(scope="module")
def openapi(service: str, room: bytes) -> Any:
    import schemathesis
    from hypothesis import strategies

    garbage = strategies.binary(max_size=100)
    pictures = strategies.sampled_from([room, room[: len(room) // 2], b"", b"GIF89a"])
    schemathesis.openapi.format("binary", pictures | garbage)
    return schemathesis.openapi.from_url(f"{service}/openapi.json")


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_no_question_breaks_the_service(path: str, method: str, openapi: Any, service: str) -> None:
    from hypothesis import HealthCheck, given, settings
    from schemathesis.checks import CHECKS, load_all_checks

    load_all_checks()
    # a picture that is no picture has the right type, and is refused all the same
    beside = CHECKS.get_by_names(["positive_data_acceptance"]) if method == "post" else []

    @given(case=openapi[path][method].as_strategy())
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    def ask(case: Any) -> None:
        case.call_and_validate(headers={"Origin": service}, excluded_checks=beside)

    ask()


def test_every_answer_is_described_with_an_example(openapi: Any) -> None:
    described = openapi.raw_schema["paths"]
    assert {(path, method) for path, methods in described.items() for method in methods} == set(OPERATIONS)
    for path, methods in described.items():
        for method, operation in methods.items():
            assert operation["description"], f"{method} {path}"
            for status, answer in operation["responses"].items():
                for kind, content in answer["content"].items():
                    if kind == "application/json" and (path, status) != ("/health", "200"):
                        assert content["schema"], f"{method} {path} {status}"
                        assert content["example"], f"{method} {path} {status}"


def test_the_examples_are_what_the_schemas_say() -> None:
    from perfdb.pathway import schemas

    schemas.Design.model_validate(schemas.DESIGN_EXAMPLE)
    schemas.DesignState.model_validate(schemas.STATE_EXAMPLE)
    schemas.Problem.model_validate(schemas.problem_example("no", "busy", 503))


def test_what_is_answered_fits_the_schemas(service: str, room: bytes) -> None:
    import httpx

    from perfdb.pathway import schemas

    picture = {"image": ("room.jpg", room, "image/jpeg")}
    with httpx.Client(base_url=service, timeout=60) as client:
        answer = client.post("/designs", files=picture, data={"fast_mode": "true"})
        schemas.Design.model_validate(answer.json())
        schemas.DesignState.model_validate(client.get(answer.headers["content-location"]).json())
        broken = client.post("/designs", files={"image": ("a.jpg", room[:9000], "image/jpeg")})
        schemas.Problem.model_validate(broken.json())
        for refused in (
            client.post("/designs", data={"design_style": "x" * 200}),
            client.put("/designs"),
            client.get("/nothing"),
            client.get("/designs/nothing"),
        ):
            assert schemas.Problem.model_validate(refused.json()).error.status == refused.status_code


def test_a_refused_request_is_not_repeated(service: str) -> None:
    import httpx

    answer = httpx.post(f"{service}/designs", data={"image": "a picture of megabytes", "design_style": ""})

    assert answer.status_code == 422
    assert "megabytes" not in answer.text
    assert "image" in answer.json()["error"]["message"]
