"""The description: it says what is served, and requests that are made of it are answered as it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from schemathesis.config import SchemathesisConfig
from schemathesis.generation import GenerationMode

from server.http import app
from server.http.openapi import describe
from server.http.routes import TABLE, Access
from tests.effort import examples
from tests.server.http.asking import serving_web
from tests.server.processes import Server, serving

EXAMPLES = examples(6)
"""Requests of each operation and kind, good and bad ones."""
assert app.ENTERED, "the table is filled by these files"


def test_every_route_is_described_and_no_other() -> None:
    told = {(method.upper(), path) for path, methods in describe()["paths"].items() for method in methods}
    assert told == {(one.method, one.path) for one in TABLE}
    names = [one.handler.__name__ for one in TABLE]
    assert len(set(names)) == len(names), "operationId is the handler's name"


def test_what_takes_the_token_says_so() -> None:
    for one in TABLE:
        told = describe()["paths"][one.path][one.method.lower()]
        assert (told.get("security") == [{"token": []}]) == (one.access is Access.TOKEN)
        assert ("401" in told["responses"]) == (one.access is not Access.EVERYBODY)


async def test_it_is_told_to_everybody(tmp_path: Path) -> None:
    async with serving_web(tmp_path) as web:
        assert (await web.get("/api/v1/openapi.json", token=None)).told == describe()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server, and the operator's token."""
    folder = tmp_path_factory.mktemp("server")
    with serving(folder, folder / "data", "node") as (server,):
        yield server, (folder / "data" / "http.token").read_text().strip()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["good", "bad"])
def test_requests_made_of_it_are_answered_as_it_says(served: tuple[Server, str], mode: GenerationMode) -> None:
    server, token = served
    base = f"http://127.0.0.1:{server.started['http_port']}"
    schema: Any = schemathesis.openapi.from_dict(describe(), config=SchemathesisConfig())
    called = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        try:
            cases = operation.as_strategy(generation_mode=mode)
            call_all(cases, base, token)
            called += 1
        except (hypothesis.errors.Unsatisfiable, hypothesis.errors.InvalidArgument):
            assert mode is GenerationMode.NEGATIVE, f"{operation.label}: nothing can be made of it"
    assert called >= (len(TABLE) if mode is GenerationMode.POSITIVE else 8)
    assert not server.said("http_request_failed")
    assert not server.said("http_connection_failed")
    assert server.process.poll() is None


def call_all(cases: st.SearchStrategy[Any], base: str, token: str) -> None:
    """Some of them, each judged."""

    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(case=cases)
    def one(case: Any) -> None:
        case.call_and_validate(base_url=base, headers={"Authorization": f"Bearer {token}"})

    one()
