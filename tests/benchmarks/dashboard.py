"""Draws the dashboard of deploy/observability by its own queries: a server that is calm, then full, then overloaded.

Grafana can't be had from the registries that we use, so this is how we look at it: a real Prometheus scrapes a real
server under a real load, and each panel is drawn where the dashboard has it. `make bench-dashboard` runs it.
"""

import argparse
import asyncio
import math
import re
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import grpc
import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MultipleLocator
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from dcgan.v1 import dcgan_pb2 as pb
from dcgan.v1 import dcgan_pb2_grpc
from processes import serve
from scraping import Prometheus, panels, programs, scraping

QUEUE = 512  # rows that may wait
PHASES = {"calm": 1, "full": 6, "overload": 60}  # callers of many images, each with one call in flight
DEADLINE_S = 5.0
# left, below, right, above, in Grafana's units
MARGINS = {
    "timeseries": (1.0, 1.9, 0.4, 1.4),
    "stat": (0.4, 0.4, 0.4, 1.7),
    "table": (0.4, 0.4, 0.4, 1.7),
    "row": (0,) * 4,
}
COLUMNS, UNIT_INCHES, DPI = 24, (0.8, 0.34), 72
COLORS = 96  # of the picture's palette, which makes it small

Phase = tuple[str, float]
Series = dict[str, Any]


def main() -> None:
    """Runs the load and draws what Prometheus saw of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=40.0, help="Seconds in each phase.")
    parser.add_argument("--output", type=Path, default=Path("build/bench/dashboard.png"), help="The picture.")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        serve("fashion", "--max-queued-rows", QUEUE) as server,
        scraping(programs(), Path(folder), server.metrics) as prometheus,
    ):
        prometheus.await_scrape(0.0)
        begun = asyncio.run(load(server.target, options.seconds))
        end = time.time()
        prometheus.await_scrape(end)
        picture = drawn(prometheus, begun, end)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(options.output, dpi=DPI)
    with Image.open(options.output) as image:
        image.convert("RGB").quantize(COLORS).save(options.output, optimize=True)
    print(options.output)


async def load(target: str, seconds: float) -> list[Phase]:
    """Loads a server in phases, while somebody else draws single images, streams, asks wrongly and gives up."""
    begun: list[Phase] = []
    async with grpc.aio.insecure_channel(target, options=[("grpc.enable_retries", 0)]) as channel:
        stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)
        end = time.monotonic() + seconds * len(PHASES)

        async def many(until: float) -> None:
            request = pb.SampleRequest(seeds=pb.SeedRange(seed=1, count=64))
            while time.monotonic() < until:
                await settled(stub.Sample(request, timeout=DEADLINE_S))
                if len(begun) == 1:
                    await asyncio.sleep(1.0)  # calm

        async def few() -> None:
            ends = [pb.Expression(nodes=[pb.Node(seed=pb.SeedNode(seed=seed))]) for seed in (1, 2)]
            path = pb.InterpolateRequest(points=ends, frame_count=20)
            while time.monotonic() < end:
                await settled(stub.Sample(pb.SampleRequest(seeds=pb.SeedRange(seed=1, count=1)), timeout=DEADLINE_S))
                await settled(stub.Sample(pb.SampleRequest(format=9), timeout=DEADLINE_S))
                await settled(stub.GetModel(pb.GetModelRequest(), timeout=DEADLINE_S))
                await settled(whole(stub.Interpolate(path, timeout=DEADLINE_S)))
                call = stub.StreamSamples(pb.StreamSamplesRequest(seeds=pb.SeedRange(seed=1, count=100_000)))
                await settled(call.read())
                call.cancel()
                await asyncio.sleep(0.2)

        async with asyncio.TaskGroup() as others:
            others.create_task(few())
            for name, callers in PHASES.items():
                begun.append((name, time.time()))
                async with asyncio.TaskGroup() as group:
                    for _ in range(callers):
                        group.create_task(many(time.monotonic() + seconds))
    return begun


async def whole(call: Any) -> None:
    """Reads a stream to its end."""
    async for _ in call:
        pass


async def settled(call: Awaitable[object]) -> None:
    """Waits for a call, however it ends."""
    try:
        await call
    except grpc.aio.AioRpcError:
        await asyncio.sleep(0.02)


def drawn(prometheus: Prometheus, begun: list[Phase], end: float) -> plt.Figure:
    """Draws all panels."""
    plt.rcParams.update({"font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False})
    made = panels()
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in made)
    figure = plt.figure(figsize=(COLUMNS * UNIT_INCHES[0], height * UNIT_INCHES[1]), facecolor="white")
    draws = {"timeseries": lines, "stat": number, "table": table, "row": heading}
    for panel in made:
        place = panel["gridPos"]
        left, below, right, above = MARGINS[panel["type"]]
        x, y = place["x"] + left, height - place["y"] - place["h"] + below
        width, tall = place["w"] - left - right, place["h"] - below - above
        axes = figure.add_axes((x / COLUMNS, y / height, width / COLUMNS, tall / height))
        draws[panel["type"]](axes, panel, prometheus, begun, end)
    return figure


def lines(axes: Axes, panel: Series, prometheus: Prometheus, begun: list[Phase], end: float) -> None:
    """Draws a panel of lines, with the phases' borders."""
    start = begun[0][1]
    for target in panel["targets"]:
        found = [
            (legend(target, series), *zip(*((at - start, float(value)) for at, value in series["values"]), strict=True))
            for series in prometheus.over(target["expr"], start, end, 1.0)
        ]
        # what is 0 throughout is told where there is nothing else: not every reason of a refusal
        for label, moments, values in [line for line in found if any(line[2])] or found:
            if any(map(math.isfinite, values)):
                axes.plot(moments, values, linewidth=1.2, label=label)
    for name, at in begun:
        axes.axvline(at - start, color="0.8", linewidth=0.8, zorder=0)
        axes.text(at - start, 1.02, name, transform=axes.get_xaxis_transform(), color="0.6", fontsize=7)
    field = panel["fieldConfig"]["defaults"]
    top = field.get("max", max(1.0, axes.get_ylim()[1]) if field["unit"] == "short" else None)
    axes.set_ylim(bottom=field["min"], top=top)
    axes.set_xlim(0, end - start)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, field["unit"])))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} s"))
    axes.grid(axis="y", color="0.92")
    axes.legend(loc="upper left", fontsize=7, frameon=False, bbox_to_anchor=(-0.03, -0.1), ncols=3, columnspacing=1.0)
    axes.set_title(panel["title"], loc="left", pad=14)
    if field["unit"] == "bytes":
        axes.yaxis.set_major_locator(MultipleLocator(100 * 2**20))


def number(axes: Axes, panel: Series, prometheus: Prometheus, _: list[Phase], end: float) -> None:
    """Draws a panel of one number, in the colour of its step."""
    (target,) = panel["targets"]
    (series,) = prometheus.now(target["expr"], end)
    value, field = float(series["value"][1]), panel["fieldConfig"]["defaults"]
    steps = [step for step in field["thresholds"]["steps"] if step["value"] is None or value >= step["value"]]
    axes.axis("off")
    text = written(value, field["unit"], field.get("decimals", 0))
    axes.text(0.5, 0.5, text, fontsize=26, color=steps[-1]["color"], ha="center", va="center")
    axes.set_title(panel["title"], loc="left", pad=14)


def table(axes: Axes, panel: Series, prometheus: Prometheus, _: list[Phase], end: float) -> None:
    """Draws a panel of labels, those of its one server below each other."""
    (target,) = panel["targets"]
    (series,) = prometheus.now(target["expr"], end)
    names = panel["transformations"][0]["options"]["include"]["names"]
    axes.axis("off")
    for line, name in enumerate(names):
        value = series["metric"][name]
        axes.text(0.0, 0.9 - line / 7, name, color="0.5", va="top")
        axes.text(0.4, 0.9 - line / 7, value if len(value) <= 24 else f"{value[:23]}…", va="top")
    axes.set_title(panel["title"], loc="left", pad=14)


def heading(axes: Axes, panel: Series, *_: object) -> None:
    """Draws a row's title."""
    axes.axis("off")
    axes.text(0.003, 0.3, panel["title"], fontsize=13, weight="bold", color="#2f5d9b", va="center")


def legend(target: Series, series: Series) -> str:
    """Writes the legend of one line as Grafana does."""
    return re.sub(r"\{\{(\w+)\}\}", lambda label: series["metric"].get(label[1], ""), target["legendFormat"])


def written(value: float, unit: str, decimals: int = 0) -> str:
    """Writes a value with its unit."""
    match unit:
        case "percentunit":
            return f"{100 * value:.{decimals}f} %"
        case "s":
            return f"{1000 * value:g} ms" if value < 1 else f"{value:g} s"
        case "bytes":
            return f"{value / 2**20:.0f} MiB"
        case "reqps":
            return f"{value:g}/s"
    return f"{value:,.10g}"


if __name__ == "__main__":
    main()
