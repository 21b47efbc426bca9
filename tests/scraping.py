"""A real Prometheus: Debian's package, unpacked below .cache, as a process of its own on the loopback address."""

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
OBSERVABILITY = ROOT / "deploy/observability"
CACHE = ROOT / ".cache/prometheus"
PATIENCE_S = 30.0
RATE_INTERVAL = "4s"  # what Grafana takes where scrapes are a second apart

_SERVER_FLAGS = ("--web.listen-address=127.0.0.1:0", "--log.format=json", "--storage.tsdb.retention.time=1d")


class NotHere(Exception):
    """Prometheus can't be had on this machine; says why."""


def programs() -> Path:
    """Gives the folder with `prometheus` and `promtool`; fetches Debian's package where they are missing.

    Raises:
        NotHere: and how the attempt ended.
    """
    installed = shutil.which("promtool")
    if installed and shutil.which("prometheus"):
        return Path(installed).parent
    found = CACHE / "usr/bin"
    if not (found / "promtool").exists():  # the last file of the package that we need
        CACHE.mkdir(parents=True, exist_ok=True)
        try:
            _run("apt-get", "download", "--quiet", "prometheus")
        except NotHere:  # a fresh machine knows of no packages yet
            _run("apt-get", "update", "--quiet")
            _run("apt-get", "download", "--quiet", "prometheus")
        _run("dpkg-deb", "--extract", *(str(file) for file in CACHE.glob("prometheus_*.deb")), str(CACHE))
    return found


def _run(*command: str) -> None:
    if shutil.which(command[0]) is None:
        raise NotHere(f"{command[0]} is not here, so Debian's prometheus can't be had")
    ended = subprocess.run(command, cwd=CACHE, capture_output=True, text=True, timeout=300, check=False)
    if ended.returncode != 0:
        raise NotHere(f"{' '.join(command[:2])} can't get prometheus: {ended.stderr.strip()[-300:]}")


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus that scrapes."""

    address: str

    def now(self, query: str, at: float | None = None) -> list[dict[str, Any]]:
        """Gives the series of a query at some time (now), each with `metric` and `value`."""
        return self._asked("query", query=query, **({} if at is None else {"time": at}))

    def number(self, query: str) -> float:
        """Gives the one value that a query has now."""
        (series,) = self.now(query)
        return float(series["value"][1])

    def over(self, query: str, begin: float, end: float, step_s: float) -> list[dict[str, Any]]:
        """Gives the series of a query over some time, each with `metric` and `values`."""
        return self._asked("query_range", query=query, start=begin, end=end, step=step_s)

    def await_scrape(self, moment: float) -> None:
        """Returns when each server has been scraped after a moment, and said that no call is in progress."""
        idle = "sum(dcgan_requests_in_progress) == 0"
        wait_until(lambda: bool(self.now(f"min(timestamp(dcgan_images_total)) > {moment} and on () {idle}")))

    def _asked(self, what: str, **parameters: object) -> list[dict[str, Any]]:
        address = f"http://{self.address}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(address, timeout=PATIENCE_S) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return result


def wait_until(true: Callable[[], bool]) -> None:
    """Asks over and over until something is true."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def config_for(targets: list[str]) -> dict[str, Any]:
    """Gives the example config, for other servers and with a scrape and an evaluation each second."""
    config: dict[str, Any] = yaml.safe_load((OBSERVABILITY / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"] = [config["scrape_configs"][0] | {"static_configs": [{"targets": targets}]}]
    return config


@contextmanager
def scraping(tools: Path, folder: Path, *metrics: str) -> Iterator[Prometheus]:
    """Runs a Prometheus with our rules, which scrapes these addresses of /metrics, until the block ends.

    Args:
        tools: where its program is, as `programs` gives.
        folder: for its data.
    """
    config = config_for([urllib.parse.urlsplit(address).netloc for address in metrics])
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    rules = (OBSERVABILITY / "rules.yaml").read_text()
    (folder / "rules.yaml").write_text(rules.replace("interval: 30s", "interval: 1s"))
    log = folder / "prometheus.log"
    places = (f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}")
    with log.open("wb") as file:
        process = subprocess.Popen([tools / "prometheus", *places, *_SERVER_FLAGS], stderr=file)
    try:
        wait_until(lambda: "Server is ready" in log.read_text() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        events = [json.loads(line) for line in log.read_text().splitlines()]
        (address,) = [event["address"] for event in events if event.get("msg") == "Listening on"]
        yield Prometheus(address)
    finally:
        process.kill()
        process.wait()


def panels() -> list[dict[str, Any]]:
    """Gives the panels of the dashboard, rows among them, each query ready for Prometheus."""
    text = (OBSERVABILITY / "dashboard.json").read_text()
    return list(json.loads(text.replace("$__rate_interval", RATE_INTERVAL).replace("$instance", ".*"))["panels"])
