"""The scenario overload of scenarios.py: ten times as many calls as the server can answer, by schedule.

Floods alternate with the peak: the most images a second that the same client gets with a few calls in flight. What
counts as an answer is OK within the deadline. Client and server share the cores, so what each took is printed.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import callers
import load
from callers import percentiles

from dcgan import bundle as bundles
from dcgan.v1 import dcgan_pb2 as pb
from processes import serve

MANY = pb.SampleRequest(seeds=pb.SeedRange(seed=1, count=64), format=pb.FORMAT_RAW)
MESSAGE, IMAGES = MANY.SerializeToString(), MANY.seeds.count
IN_FLIGHT = (4, 8, 16)  # the best of them is the peak
TIMES = 10  # the flood, in peaks
DEADLINE_S = 2.0
LOG_S = 0.2  # the server writes its log that much later at most
REFUSED, LATE = "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"

Event = dict[str, object]


@dataclass(frozen=True)
class Flood:
    """A flood: what the client saw, what the server logged meanwhile, and how many images it drew."""

    seen: callers.Round
    events: list[Event]
    images_run: int


def overload(_bundle: bundles.Bundle, options: argparse.Namespace) -> str:
    """Floods the server with ten times its peak, in turns with the peak itself."""
    pairs = []
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(options.model, log=Path(folder) / "log") as server,
        callers.processes(1) as pool,
    ):
        log, pid = Path(folder) / "log", server.process.pid
        load.check(server.target, MANY)

        def images_run() -> int:
            return int(server.figures()["dcgan_images_total"])

        def peak(in_flight: int) -> callers.Round:
            arguments = (server.target, pid, MESSAGE, in_flight, options.peak_seconds)
            return pool.submit(callers.closed, *arguments).result()

        def flood(rate: float) -> Flood:
            run, begun = images_run(), log.stat().st_size
            arguments = (server.target, pid, MESSAGE, rate, options.flood_seconds, DEADLINE_S)
            seen = pool.submit(callers.flood, *arguments).result()
            time.sleep(LOG_S)
            events = [json.loads(line) for line in log.read_bytes()[begun:].splitlines()]
            return Flood(seen, events, images_run() - run)

        rates = {in_flight: ok_per_s(peak(in_flight)) for in_flight in IN_FLIGHT}
        best = max(rates, key=lambda in_flight: rates[in_flight])
        for _ in range(options.pairs):
            before = peak(best)
            pairs.append((before, flood(TIMES * ok_per_s(before))))
    tried = ", ".join(f"{IMAGES * rate:,.0f} images/s at {in_flight}" for in_flight, rate in rates.items())
    header = (
        f"{options.pairs} pairs of {options.peak_seconds:g} s with {best} calls in flight ({tried}) and a flood of "
        f"{options.flood_seconds:g} s, of which the first {DEADLINE_S:g} s aren't counted; {IMAGES} RAW images a call, "
        f"deadline {DEADLINE_S:g} s. "
        "Aim: at least 0.9 of the peak, no row started after its deadline, the next call succeeds.\n"
    )
    floods = [flood for _, flood in pairs]
    return "\n".join([header, table([(before, flood.seen) for before, flood in pairs]), "", evidence(floods)])


def table(pairs: list[tuple[callers.Round, callers.Round]]) -> str:
    """Writes what clients saw at the peak and in the flood."""
    peaks, floods = zip(*pairs, strict=True)
    ratios = [ok_per_s(flood) / ok_per_s(peak) for peak, flood in pairs]
    per_cpu = [ratio * cores(peak)[0] / cores(flood)[0] for ratio, (peak, flood) in zip(ratios, pairs, strict=True)]
    codes = Counter(call.code for one in floods for call in one.calls)
    refused, answered = ([s for one in floods for s in one.seconds_of(code)] for code in (REFUSED, callers.OK))
    lags = [lag for one in floods for lag in one.lags]
    rows = {
        "peak, images/s": load.interval([IMAGES * ok_per_s(one) for one in peaks]),
        "offered, in peaks": load.interval([len(b.calls) / b.end / ok_per_s(a) for a, b in pairs]),
        "client behind its schedule: p50, p99 ms": percentiles(lags, 0.5, 0.99),
        "goodput, images/s": load.interval([IMAGES * ok_per_s(one) for one in floods]),
        "goodput over peak": load.interval(ratios),
        "the same for each CPU second of the server": load.interval(per_cpu),
        "cores that the server took, peak": load.interval([cores(one)[0] for one in peaks]),
        "cores that the server took, flood": load.interval([cores(one)[0] for one in floods]),
        "cores that the client took, peak": load.interval([cores(one)[1] for one in peaks]),
        "cores that the client took, flood": load.interval([cores(one)[1] for one in floods]),
        "calls of the floods by status": ", ".join(f"{count:,} {code}" for code, count in codes.most_common()),
        "OK: p50, p99 ms": percentiles(answered, 0.5, 0.99),
        f"{REFUSED}: p50, p99 ms": percentiles(refused, 0.5, 0.99),
        "server CPU ms a refusal, answers taken as at the peak": load.interval([refusal_cpu_ms(*one) for one in pairs]),
        "a call right after the last arrival": outcomes([one.after[0] for one in floods]),
        "a call when all had ended": outcomes([one.after[1] for one in floods]),
    }
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())])


def evidence(floods: list[Flood]) -> str:
    """Says what the server's log and counts tell about the floods, and about rows that ran too late."""
    events = [event for flood in floods for event in flood.events]
    calls = [event for event in events if event["event"] == "call"]
    ends = Counter(f"{call['code']} (reason {call['reason']})" for call in calls)
    others = Counter(str(event["event"]) for event in events if event["event"] != "call")
    waits, totals = (
        [float(str(call[key])) for call in calls if call["code"] == callers.OK] for key in ("queue_ms", "total_ms")
    )
    late = sum(wait > 1000.0 * DEADLINE_S for wait in waits)
    run = sum(flood.images_run for flood in floods)
    codes = [call.code for flood in floods for call in (*flood.seen.calls, *flood.seen.after)]
    got = IMAGES * codes.count(callers.OK)
    return (
        f"The server's log of the floods: {counted(ends)}; besides: {counted(others)}. "
        f"Of its OK calls the longest waited {max(waits, default=0.0):.0f} ms for its first batch and took "
        f"{max(totals, default=0.0):.0f} ms; {late} waited longer than the deadline. "
        f"Of {run:,} rows run the client got {got / max(1, run):.0%}; the rest were of calls not answered in time. "
        "That no row starts after its deadline is shown exactly by tests/service/test_batcher.py, on a device that "
        "waits for the test."
    )


def ok_per_s(one: callers.Round) -> float:
    """Counts calls a second that were answered within the deadline, in the steady part of a round."""
    return sum(seconds <= DEADLINE_S for seconds in one.seconds_of(callers.OK)) / (one.end - one.begin)


def cores(one: callers.Round) -> tuple[float, float]:
    """Says how many cores the server and the client took in the steady part of a round."""
    seconds = one.end - one.begin
    return one.server_cpu_s / seconds, one.client_cpu_s / seconds


def refusal_cpu_ms(peak: callers.Round, flood: callers.Round) -> float:
    """Estimates the server's processor time for a refusal: what it took in the flood beyond the answers' share."""
    each_s = peak.server_cpu_s / len(peak.seconds_of(callers.OK))
    spent_s = flood.server_cpu_s - each_s * len(flood.seconds_of(callers.OK))
    return 1000.0 * spent_s / max(1, len(flood.seconds_of(REFUSED)))


def outcomes(calls: list[callers.Call]) -> str:
    """Writes how some calls ended, and their times."""
    times = [1000.0 * call.seconds for call in calls]
    return f"{counted(Counter(call.code for call in calls))}; {load.interval(times)} ms"


def counted(counts: Counter[str]) -> str:
    """Writes what there was, most frequent first."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.most_common()) or "nothing"
