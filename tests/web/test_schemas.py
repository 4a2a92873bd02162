"""The API keeps what its OpenAPI promises, whatever is asked: schemathesis makes the questions up."""

from __future__ import annotations

from typing import Any

import pytest

from perfdb.web.api import router

OPERATIONS = [
    (route.path_format, method.lower())
    for route in router.routes
    for method in sorted(route.methods)
    if not route.path.endswith("/events")  # it never ends
]


@pytest.fixture(scope="module")
def openapi(shared_dashboard: Any) -> Any:
    import schemathesis

    return schemathesis.openapi.from_url(f"{shared_dashboard.url}/api/v1/openapi.json")


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_no_question_breaks_the_api(path: str, method: str, openapi: Any, shared_dashboard: Any) -> None:
    from hypothesis import HealthCheck, given, settings

    headers = {
        "Origin": shared_dashboard.url,
        "X-Perfdb-Token": shared_dashboard.app.state.gate.change_token,
    }

    @given(case=openapi[path][method].as_strategy())
    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    def ask(case: Any) -> None:
        case.call_and_validate(headers=headers)

    ask()


def test_every_answer_of_the_api_is_described(openapi: Any) -> None:
    described = openapi.raw_schema["paths"]
    for path, operations in described.items():
        for method, operation in operations.items():
            assert operation.get("description"), f"{method} {path} says nothing of what it does"
            assert "200" in operation["responses"]
    assert sorted(described) == sorted({path for path, _ in OPERATIONS} | {"/api/v1/events"})
