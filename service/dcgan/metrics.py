"""Every metric of the server, defined once. Base units, and labels only from closed sets.

Names, types, units, labels and meanings are a promise to dashboards and alerts: they are added to, never changed.
`table` writes them down. The registry is passed in, so that several servers in one process don't share counts.
What one call cost is gathered in a `CallRecord`, for its log line.
"""

import math
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from dcgan.errors import DcganError, LocalError, all_classes

if TYPE_CHECKING:
    from dcgan.tracing.spans import Trace

_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_POWERS_OF_TWO: Final = tuple(float(1 << power) for power in range(11))
_INFO_LABELS: Final = {
    "dcgan_model": ("name", "version", "manifest_digest", "variant", "provider", "onnxruntime_version"),
    "dcgan_server": ("version", "device"),
}


@dataclass(slots=True)
class CallRecord:
    """What one call has time for, asked for and cost; the servicer fills it in, `calls` logs it."""

    request_id: str
    deadline: float = math.inf  # on the monotonic clock
    trace: "Trace | None" = None
    image_count: int = 0
    queue_s: float = 0.0
    device_s: float = 0.0
    encode_s: float = 0.0


current_call: ContextVar[CallRecord] = ContextVar("current_call")


class Metrics:
    """The metrics of one server.

    Labels: `method` is one of the service's methods, `code` a gRPC status code, `reason` an error's reason,
    `stage` one of queue, device, encode, `outcome` one of taken, refused.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "dcgan_requests", "Calls that ended, by method and gRPC status code.", ["method", "code"], registry=registry
        )
        self.request_seconds = Histogram(
            "dcgan_request_seconds",
            "Time from a call's arrival to its end.",
            ["method"],
            unit="seconds",
            buckets=_SECONDS,
            registry=registry,
        )
        self.requests_in_progress = Gauge(
            "dcgan_requests_in_progress", "Calls that have begun and not ended.", ["method"], registry=registry
        )
        self.refused = Counter(
            "dcgan_refused", "Calls that ended with one of our errors, by its reason.", ["reason"], registry=registry
        )
        self.stage_seconds = Histogram(
            "dcgan_stage_seconds",
            "Time in each stage: queue: rows wait; device: one batch; encode: the images of one answer.",
            ["stage"],
            unit="seconds",
            buckets=(0.0001, 0.0002, 0.0005, *_SECONDS),
            registry=registry,
        )
        self.batch_rows = Histogram(
            "dcgan_batch_rows", "Rows in one device run.", unit="rows", buckets=_POWERS_OF_TWO, registry=registry
        )
        self.images = Counter("dcgan_images", "Images drawn on the device.", unit="images", registry=registry)
        self.queued_rows = Gauge("dcgan_queued_rows", "Rows that wait for the device.", unit="rows", registry=registry)
        self.saturation = Gauge(
            "dcgan_saturation_ratio",
            "Rows that wait, as a share of what may wait: 0 to 1.",
            unit="ratio",
            registry=registry,
        )
        self.device_threads = Gauge(
            "dcgan_device_threads",
            'Batches that run at once. The device is busy for the rate of dcgan_stage_seconds_sum{stage="device"} '
            "divided by it: 0 to 1.",
            unit="threads",
            registry=registry,
        )
        self.loads = Counter(
            "dcgan_model_loads",
            "Versions of the model that were loaded, by outcome: taken to serve, or refused.",
            ["outcome"],
            registry=registry,
        )
        self.refused_versions = Gauge(
            "dcgan_refused_versions",
            "Versions in the model directory that are refused as they are now; GetModel tells why.",
            unit="versions",
            registry=registry,
        )
        self.loaded_models = Gauge(
            "dcgan_loaded_models",
            "Models in memory: the one that serves, and one that warms up or that calls still use.",
            unit="models",
            registry=registry,
        )
        self.model = Info("dcgan_model", "The model that serves now, and on what.", registry=registry)
        self.server = Info(
            "dcgan_server", "The server: its version, and the device that it was told to use.", registry=registry
        )
        # series that are there from the start, so that a rate sees their first count too
        for outcome in ("taken", "refused"):
            self.loads.labels(outcome)
        for error in all_classes():
            if not issubclass(error, LocalError) and error is not DcganError:
                self.refused.labels(error.reason)


def table() -> str:
    """Writes the metrics as a Markdown table, for the operators' documentation."""
    lines = ["| metric | type | unit | labels | meaning |", "| --- | --- | --- | --- | --- |"]
    for collector in vars(Metrics(CollectorRegistry())).values():
        (family,) = collector.describe()
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        labels = ", ".join(f"`{label}`" for label in _INFO_LABELS.get(family.name, collector._labelnames)) or "-"
        lines.append(
            f"| `{family.name}{suffix}` | {family.type} | {family.unit or '-'} | {labels} | {family.documentation} |"
        )
    return "\n".join(lines)
