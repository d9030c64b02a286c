"""Figures: every counter is told, under names and labels as Prometheus wants them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import attrs
from prometheus_client.parser import text_string_to_metric_families

from server.http.figures import COUNTED
from server.metrics import Metrics
from tests.server.helpers import playing
from tests.server.http.asking import serving_web

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_every_counter_of_the_node_is_told() -> None:
    counters = {field.name for field in attrs.fields(Metrics) if isinstance(field.default, int)}
    assert counters == set(COUNTED)


async def test_figures_are_those_of_the_node(tmp_path: Path) -> None:
    async with serving_web(tmp_path) as web, playing(web.node) as (_, room):
        await room.next_frame()
        answer = await web.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        families = {family.name: family for family in text_string_to_metric_families(answer.body.decode())}
        value = {sample.name: sample.value for family in families.values() for sample in family.samples}
        assert 0 < value["holdfast_ticks_total"] <= web.node.metrics.ticks
        assert value["holdfast_players"] == 1
        assert value["holdfast_frames_sent_total"] > 0
        assert 0 < value["holdfast_lease_left_seconds"] <= 1.5
        ticks = {sample.labels["le"]: sample.value for sample in families["holdfast_tick_duration_seconds"].samples
                 if sample.name.endswith("_bucket") and sample.labels["phase"] == "0"}  # fmt: skip
        assert list(ticks.values()) == sorted(ticks.values())
        assert ticks["+Inf"] > 0
        states = {sample.labels["state"]: sample.value for sample in families["holdfast_state"].samples}
        assert states == {"serving": 1.0, "draining": 0.0, "suspended": 0.0}


async def test_names_are_as_prometheus_wants_them_and_labels_are_few(tmp_path: Path) -> None:
    async with serving_web(tmp_path) as web, playing(web.node):
        text = (await web.get("/metrics")).body.decode()
        for family in text_string_to_metric_families(text):
            assert re.fullmatch(r"(holdfast|process)_[a-z_]+", family.name)
            assert family.documentation.endswith(".")
            assert len(family.samples) <= 4 * 12
            labels = {label for sample in family.samples for label in sample.labels}
            assert labels <= {"game", "phase", "reason", "state", "le"}
            if family.type == "counter":
                assert all(sample.name.endswith("_total") for sample in family.samples)
        assert not re.search(r"_(ms|mb|us)\b", text)
        assert web.node.people[0].room not in text


async def test_dashboard_and_alerts_use_figures_that_there_are(tmp_path: Path) -> None:
    async with serving_web(tmp_path) as web:
        text = (await web.get("/metrics")).body.decode()
    there = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    there |= {name.removesuffix("_total") for name in there}
    there |= {"holdfast_tick_duration_seconds"}
    panels = json.loads((DOCS / "grafana.json").read_text())["panels"]
    used = [target["expr"] for panel in panels for target in panel["targets"]]
    used += re.findall(r"expr: (.*)", (DOCS / "alerts.yml").read_text())
    assert len(used) > 25
    names = {name for expression in used for name in re.findall(r"\b(?:holdfast|process)_\w+", expression)}
    assert names - there - {"holdfast_tick_duration_seconds_bucket"} == set()
    told = set(
        re.findall(
            r"`(\w+)`", (DOCS / "operations.md").read_text().partition("| of | figures |")[2].partition("\n\n")[0]
        )
    )
    assert {f"holdfast_{name}" for name in told - {"reason"}} - there == set()
