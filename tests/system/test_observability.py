"""Rules, alerts and dashboard by outside judges: promtool, Grafana's types, and a real Prometheus that scrapes us.

The Prometheus looks at one server under a short load, which every query of the dashboard and every rule must see.
"""

import asyncio
import math
import shutil
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from dcgan.status import error_of
from dcgan.v1 import dcgan_pb2 as pb
from dcgan.v1 import dcgan_pb2_grpc
from processes import serve
from programs import from_npm_or_skipped
from scraping import OBSERVABILITY, NotHere, Prometheus, panels, programs, scraping

pytestmark = pytest.mark.system

GRAFANA = ("@grafana/schema@13.2.3", "typescript@5.9.3")
TSC = ("--noEmit", "--strict", "--skipLibCheck", "--module", "esnext", "--moduleResolution", "bundler")
LOAD_S = 6.0
QUEUE = 32  # rows that may wait
OK, CANCELLED = (grpc.StatusCode.OK.name, None), (grpc.StatusCode.CANCELLED.name, None)

RULES = [
    rule for group in yaml.safe_load((OBSERVABILITY / "rules.yaml").read_text())["groups"] for rule in group["rules"]
]
ALERT_TESTS = yaml.safe_load((OBSERVABILITY / "rules.test.yaml").read_text())
QUERIES = {
    f"{panel['title']}: {target['legendFormat']}": target["expr"]
    for panel in panels()
    for target in panel.get("targets", [])
}


@pytest.fixture(scope="module")
def tools() -> Path:
    """The folder with prometheus and promtool."""
    try:
        return programs()
    except NotHere as error:
        pytest.skip(str(error))


def checked(command: list[object], **more: Any) -> None:
    """Runs a judge, which must have nothing to say against us."""
    ended = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=110, check=False, **more
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_promtool_accepts_the_rules(tools):
    """Their form and their expressions."""
    checked([tools / "promtool", "check", "rules", OBSERVABILITY / "rules.yaml"])


@pytest.mark.parametrize("case", ALERT_TESTS["tests"], ids=lambda case: case["name"])
def test_every_alert_fires_when_it_should_and_only_then(tools, tmp_path, case):
    """By rules.test.yaml, of which tests/service/test_alerts.py knows that it tests every alert both ways."""
    only = ALERT_TESTS | {"rule_files": [str(OBSERVABILITY / "rules.yaml")], "tests": [case]}
    (tmp_path / "rules.test.yaml").write_text(yaml.safe_dump(only))
    checked([tools / "promtool", "test", "rules", tmp_path / "rules.test.yaml"])


def test_promtool_accepts_the_scrape_config(tools, tmp_path):
    """But for the discovery of pods itself, which Debian's Prometheus is built without."""
    config = yaml.safe_load((OBSERVABILITY / "prometheus.yaml").read_text())
    for scrape in config["scrape_configs"]:
        scrape.pop("kubernetes_sd_configs", None)
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))
    shutil.copy(OBSERVABILITY / "rules.yaml", tmp_path)
    checked([tools / "promtool", "check", "config", tmp_path / "prometheus.yaml"])


def test_grafana_s_own_types_accept_the_dashboard():
    """Panels with their options and fields, variables, queries; tsc compares."""
    place = from_npm_or_skipped("grafana", *GRAFANA)
    shutil.copy(Path(__file__).parent / "grafana.ts", place)
    dashboard = (OBSERVABILITY / "dashboard.json").read_text()
    source = f'import type {{ Checked }} from "./grafana";\nexport const dashboard: Checked = {dashboard}'
    (place / "dashboard.ts").write_text(source)
    checked([place / "node_modules/.bin/tsc", *TSC, "dashboard.ts"], cwd=place)


@dataclass(frozen=True)
class Watched:
    """A server after a load, and the Prometheus that saw it.

    Attributes:
        ends: what the clients saw: calls by code and reason.
        begin, end: when the load was, in seconds since the epoch.
        page: the server's /metrics.
    """

    prometheus: Prometheus
    ends: Counter[tuple[str, str | None]]
    begin: float
    end: float
    page: bytes


@pytest.fixture(scope="module")
def watched(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Loads a server, then waits for a scrape that began later and saw no call in progress."""
    with (
        serve("fashion", "--max-queued-rows", QUEUE) as server,
        scraping(tools, tmp_path_factory.mktemp("prometheus"), server.metrics) as prometheus,
    ):
        prometheus.await_scrape(0.0)
        begin = time.time()
        ends = asyncio.run(load(server.target))
        end = time.time()
        prometheus.await_scrape(end)
        with urllib.request.urlopen(server.metrics) as answer:
            yield Watched(prometheus, ends, begin, end, answer.read())


async def load(target: str) -> Counter[tuple[str, str | None]]:
    """Asks in many ways at once, some of them wrong, some too much, some given up; counts how the calls ended."""
    ends: Counter[tuple[str, str | None]] = Counter()
    until = time.monotonic() + LOAD_S

    async def ended(call: Any, well: tuple[str, None] = OK) -> None:
        try:
            await call
            ends[well] += 1
        except grpc.aio.AioRpcError as error:
            known = error_of(error.code(), error.details(), error.trailing_metadata())
            ends[error.code().name, known.reason] += 1

    async with grpc.aio.insecure_channel(target, options=[("grpc.enable_retries", 0)]) as channel:
        stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)
        raw = channel.unary_unary("/dcgan.v1.GeneratorService/Sample")

        def sample(count: int = 1, **fields: Any) -> Any:
            return stub.Sample(pb.SampleRequest(seeds=pb.SeedRange(seed=1, count=count), **fields))

        async def ask() -> None:
            while time.monotonic() < until:
                await ended(sample(4))

        async def ask_wrongly() -> None:
            while time.monotonic() < until:
                await ended(sample(format=9))
                await ended(sample(10**6))
                await ended(raw(b"\xff"))

        async def ask_for_too_much() -> None:
            while time.monotonic() < until:
                await asyncio.gather(*(ended(sample(16)) for _ in range(16)))

        async def give_up() -> None:
            """Cancels streams when their first images have come, so that the server knows of them."""
            request = pb.StreamSamplesRequest(seeds=pb.SeedRange(seed=1, count=10**6), format=pb.FORMAT_RAW)
            while time.monotonic() < until:
                call = stub.StreamSamples(request)
                await ended(call.read(), CANCELLED)
                call.cancel()

        async with asyncio.TaskGroup() as group:
            for behaviour in (ask, ask, ask_wrongly, ask_for_too_much, give_up):
                group.create_task(behaviour())
    return ends


def test_prometheus_counts_what_the_clients_counted(watched):
    """Exactly: what was answered, each refusal by its reason, and all calls that began."""
    refused: Counter[str] = Counter()
    for (_, reason), count in watched.ends.items():
        if reason is not None:
            refused[reason] += count
    assert set(refused) >= {"INVALID_FIELD", "TOO_MANY_IMAGES", "MALFORMED_REQUEST", "OVERLOADED"}
    assert watched.ends[OK] > 0
    assert watched.ends[CANCELLED] > 0
    now = watched.prometheus.now
    assert {series["metric"]["reason"]: int(series["value"][1]) for series in now("dcgan_refused_total > 0")} == refused
    codes: Counter[str] = Counter()
    for (code, _), count in watched.ends.items():
        codes[code] += count
    counted = now("sum by (code) (dcgan_requests_total) > 0")
    assert {series["metric"]["code"]: int(series["value"][1]) for series in counted} == codes
    assert watched.prometheus.number("sum(dcgan_requests_total)") == watched.ends.total()
    assert watched.prometheus.number("sum(dcgan_request_seconds_count)") == watched.ends.total()
    assert watched.prometheus.number("sum(dcgan_requests_in_progress)") == 0


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_of_the_dashboard_returns_data(watched, name):
    """A number, somewhere in the time of the load."""
    assert numbers(watched, QUERIES[name])


@pytest.mark.parametrize("name", [rule["record"] for rule in RULES if "record" in rule])
def test_every_recording_rule_returns_data(watched, name):
    """A number, somewhere in the time of the load."""
    assert numbers(watched, name)


def numbers(watched: Watched, query: str) -> list[float]:
    """Gives all numbers that a query returns for the time of the load."""
    series = watched.prometheus.over(query, watched.begin, watched.end + 1.0, 1.0)
    values = [float(value) for one in series for _, value in one["values"]]
    return [value for value in values if math.isfinite(value)]


def test_promtool_accepts_the_metrics(tools, watched):
    """By the conventions for names, units and types."""
    checked([tools / "promtool", "check", "metrics"], input=watched.page.decode())
