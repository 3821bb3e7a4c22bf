"""Requests that nobody thought of, made from our own OpenAPI schema: valid ones and broken ones."""

from collections.abc import Iterator

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
]
EXAMPLES = {"POST /v1/images/generations": 60}  # of each kind; elsewhere there is little to vary
FEW = 5


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as opened:
        yield opened


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_no_request_breaks_it(
    url: str, mode: schemathesis.GenerationMode, session: requests.Session
) -> None:
    schema = schemathesis.openapi.from_dict(httpx.get(f"{url}/openapi.json").json())
    tried = []
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        if mode.is_negative and not operation.body:
            continue  # nothing that could be wrong

        @settings(
            max_examples=EXAMPLES.get(operation.label, FEW),
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def attempt(case: schemathesis.Case) -> None:
            case.call_and_validate(url, session=session, checks=CHECKS, timeout=120)

        attempt()
        tried.append(operation.label)
    assert "POST /v1/images/generations" in tried
    assert httpx.get(f"{url}/healthz").is_success
