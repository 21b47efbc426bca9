"""Traces of calls by OpenTelemetry, an option: where its standard variables ask for them, and `[otel]` is installed.

Off is None: nothing of OpenTelemetry is imported, and who has a span to tell of looks first whether there is a trace.
`spans` knows OpenTelemetry, and nothing else does.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from dcgan.tracing.spans import Trace, Tracer

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

_log = structlog.get_logger()


@contextmanager
def exporting(version: str) -> "Iterator[Tracer | None]":
    """Exports traces for as long as the context lasts, and what is left at its end; gives None where they are off.

    What is wrong with the variables is said in the log, and the server serves without traces.

    Args:
        version: of the server.
    """
    tracer = _tracer(version) if _asked_for() else None
    try:
        yield tracer
    finally:
        if tracer is not None:
            tracer.close()


def exemplar(trace: "Trace | None") -> dict[str, str] | None:
    """Gives what leads from a bucket of a histogram to a call that is counted in it."""
    return None if trace is None else trace.exemplar


def _asked_for() -> bool:
    disabled = _variable("OTEL_SDK_DISABLED").lower() == "true" or _variable("OTEL_TRACES_EXPORTER") == "none"
    return not disabled and _variable(*_ENDPOINTS) != ""


def _tracer(version: str) -> "Tracer | None":
    protocol = _variable(*_PROTOCOLS)
    if protocol not in ("", "grpc"):
        _log.warning("no traces", why=f"{_PROTOCOLS[1]} is {protocol!r}; it must be 'grpc', usually port 4317")
        return None
    try:
        from dcgan.tracing.spans import Tracer

        return Tracer(version)
    except ModuleNotFoundError as error:
        _log.warning("no traces", why=f"{error}; install dcgan[otel]")
    except Exception as error:  # the SDK refuses values of its variables in many ways
        _log.warning("no traces", why=f"{type(error).__name__}: {error}")
    return None


def _variable(*names: str) -> str:
    """Reads the first of some variables that is set; an empty one isn't, as OpenTelemetry has it."""
    return next((value for name in names if (value := os.environ.get(name, "").strip())), "")
