"""Writes dashboard.json, the Grafana dashboard: `python deploy/observability/dashboard.py` after a change here.

Panels are listed in rows; where each stands is computed.
`tests/system/test_observability.py` checks the file against Grafana's types, and each query against a real Prometheus.
"""

import itertools
import json
from pathlib import Path
from typing import Any, Final

HERE: Final = '{instance=~"$instance"}'
STREAMS: Final = "StreamSamples|Interpolate|Arithmetic"
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS: Final = 24
NUMBER_COLUMNS: Final = 4
JOB: Final = 'job="dcgan"'
GREEN, RED = "green", "red"

Panel = dict[str, Any]


def within(metric: str, *matchers: str) -> str:
    """Writes a selector of the chosen servers' series."""
    return metric + "{" + ", ".join(['instance=~"$instance"', *matchers]) + "}"


def per_second(by: str, metric: str, *matchers: str) -> str:
    """Writes how fast a counter grows, summed by some labels."""
    return f"sum by ({by}) (rate({within(metric, *matchers)}[$__rate_interval]))"


def quantile(share: float, by: str, histogram: str, *matchers: str) -> str:
    """Writes a quantile of a histogram, by some labels besides `le`."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share:g}, {per_second(labels, f'{histogram}_bucket', *matchers)})"


def mean(by: str, histogram: str) -> str:
    """Writes the mean of a histogram by some labels."""
    return f"{per_second(by, f'{histogram}_sum')} / {per_second(by, f'{histogram}_count')}"


def panel(kind: str, title: str, unit: str, queries: dict[str, str], description: str, **more: Any) -> Panel:
    """Makes a panel: `queries` are expressions by legend, `{{label}}` in it stands for a label's value."""
    targets = [
        {"refId": letter, "datasource": DATASOURCE, "expr": query, "legendFormat": legend}
        for letter, (legend, query) in zip("ABCDEFGH", queries.items(), strict=False)
    ]
    field = {"unit": unit, "color": {"mode": "palette-classic"}, "min": 0} | more.pop("field", {})
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": field, "overrides": []},
        **more,
    }


def graph(title: str, unit: str, queries: dict[str, str], description: str, **field: Any) -> Panel:
    """Makes a panel of lines over time."""
    custom = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 8, "showPoints": "never", "spanNulls": False}
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel("timeseries", title, unit, queries, description, options=options, field={"custom": custom, **field})


def number(
    title: str, unit: str, query: str, description: str, *steps: tuple[float | None, str], **field: Any
) -> Panel:
    """Makes a panel of one number, coloured by steps (from which value, colour)."""
    thresholds = {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in steps]}
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "orientation": "auto",
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "textMode": "value",
        "wideLayout": True,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
    }
    coloured = {"color": {"mode": "thresholds"}, "thresholds": thresholds, **field}
    return panel("stat", title, unit, {title: query}, description, options=options, field=coloured)


def table(title: str, query: str, description: str, *columns: str) -> Panel:
    """Makes a panel of the labels that an info metric has now."""
    made = panel(
        "table",
        title,
        "short",
        {title: query},
        description,
        options={"showHeader": True, "frameIndex": 0, "cellHeight": "sm"},
        field={"custom": {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": True}},
        transformations=[{"id": "filterFieldsByName", "options": {"include": {"names": [*columns]}}}],
    )
    made["targets"][0] |= {"instant": True, "range": False, "format": "table"}
    return made


def rows() -> dict[str, list[Panel]]:
    """Gives the panels of each row by its title; numbers are narrow, the others of a row share what is left."""
    unary = f'method!~"{STREAMS}"'
    return {
        "Objectives": [
            number(
                "Available, last hour",
                "percentunit",
                "1 - job:dcgan_requests_failed:ratio_rate1h",
                "Calls that didn't fail by our doing. The objective is 99.9 % in 30 days.",
                (None, RED),
                (0.999, GREEN),
                decimals=2,
                max=1,
            ),
            number(
                "Quick, last hour",
                "percentunit",
                "1 - job:dcgan_samples_slow:ratio_rate1h",
                "Sample calls that took at most 0.5 s. The objective is 99 % in 30 days.",
                (None, RED),
                (0.99, GREEN),
                decimals=2,
                max=1,
            ),
            number(
                "Servers",
                "short",
                'sum(up{job="dcgan"})',
                "That answer, of the job dcgan.",
                (None, RED),
                (1, GREEN),
            ),
            graph(
                "Budget burnt, last hour",
                "short",
                {
                    "availability": "job:dcgan_requests_failed:ratio_rate1h"
                    " / scalar(slo:dcgan_availability_budget:ratio)",
                    "latency": "job:dcgan_samples_slow:ratio_rate1h / scalar(slo:dcgan_latency_budget:ratio)",
                },
                "At 1 the budget of 30 days is just spent when they end; at 14.4 we are paged.",
            ),
        ],
        "Traffic and errors": [
            graph(
                "Calls a second",
                "reqps",
                {"{{method}}": per_second("method", "dcgan_requests_total")},
                "Calls that ended, by method.",
            ),
            graph(
                "Calls in progress",
                "short",
                {"{{method}}": f"sum by (method) (dcgan_requests_in_progress{HERE})"},
                "Calls that have begun and not ended.",
            ),
            graph(
                "Calls a second that aren't OK",
                "reqps",
                {"{{code}}": per_second("code", "dcgan_requests_total", 'code!="OK"')},
                "By gRPC status code, whoever's doing it is.",
            ),
            graph(
                "Refused a second",
                "reqps",
                {"{{reason}}": per_second("reason", "dcgan_refused_total")},
                "Calls that ended with one of our errors, by its reason.",
            ),
        ],
        "Latency": [
            graph(
                "Latency of unary calls",
                "s",
                {
                    f"p{100 * share:g}": quantile(share, "", "dcgan_request_seconds", unary)
                    for share in (0.5, 0.9, 0.99)
                },
                "Refusals, which are quick, are among them.",
            ),
            graph(
                "Latency by method, p99",
                "s",
                {"{{method}}": quantile(0.99, "method", "dcgan_request_seconds")},
                "A stream takes as long as it is, and as its reader takes.",
            ),
            graph(
                "Stages, p99",
                "s",
                {"{{stage}}": quantile(0.99, "stage", "dcgan_stage_seconds")},
                "queue: rows wait; device: one batch; encode: the images of one answer.",
            ),
            graph("Stages, mean", "s", {"{{stage}}": mean("stage", "dcgan_stage_seconds")}, "As to the left."),
        ],
        "Batches, queue, device": [
            graph(
                "Images a second",
                "short",
                {"{{instance}}": per_second("instance", "dcgan_images_total")},
                "Images drawn on the device, by server.",
            ),
            graph(
                "Rows in a batch",
                "short",
                {
                    "mean": mean("", "dcgan_batch_rows"),
                    "p50": quantile(0.5, "", "dcgan_batch_rows"),
                    "p99": quantile(0.99, "", "dcgan_batch_rows"),
                },
                "Full batches are what high load is served by; the quantiles are as coarse as the powers of two.",
            ),
            graph(
                "Rows that wait",
                "short",
                {"{{instance}}": f"dcgan_queued_rows{HERE}"},
                "For the device, at the moment of the scrape.",
            ),
            graph(
                "Queue full, device busy",
                "percentunit",
                {
                    "queue {{instance}}": f"dcgan_saturation_ratio{HERE}",
                    "device {{instance}}": "sum without (stage) (rate("
                    + within("dcgan_stage_seconds_sum", 'stage="device"')
                    + f"[$__rate_interval])) / dcgan_device_threads{HERE}",
                },
                "The queue as a share of what may wait, the device as a share of its time.",
                max=1,
            ),
        ],
        "Versions": [
            table(
                "Models that serve",
                f"dcgan_model_info{HERE}",
                "One line a server.",
                *("instance", "name", "version", "manifest_digest", "provider", "onnxruntime_version"),
            ),
            graph(
                "Versions loaded",
                "short",
                {"{{outcome}}": f"sum by (outcome) (increase({within('dcgan_model_loads_total')}[$__rate_interval]))"},
                "Taken to serve, or refused.",
            ),
            graph(
                "Models in memory, versions refused",
                "short",
                {
                    "in memory {{instance}}": f"dcgan_loaded_models{HERE}",
                    "refused {{instance}}": f"dcgan_refused_versions{HERE}",
                },
                "Two in memory for long: the old one isn't freed.",
            ),
        ],
        "Processes": [
            graph(
                "Memory",
                "bytes",
                {"{{instance}}": within("process_resident_memory_bytes", JOB)},
                "Resident. With a GPU, its own memory is not among it.",
            ),
            graph(
                "Processor",
                "short",
                {"{{instance}}": f"rate({within('process_cpu_seconds_total', JOB)}[$__rate_interval])"},
                "In cores.",
            ),
            graph(
                "Up for",
                "s",
                {"{{instance}}": f"time() - {within('process_start_time_seconds', JOB)}"},
                "Since the process started; saw teeth are restarts.",
            ),
        ],
    }


def dashboard() -> dict[str, Any]:
    """Makes the whole dashboard."""
    panels: list[Panel] = []
    ids = itertools.count(1)
    y = 0
    for title, members in rows().items():
        position = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        panels.append(
            {"type": "row", "id": next(ids), "title": title, "collapsed": False, "panels": [], "gridPos": position}
        )
        numbers = sum(member["type"] == "stat" for member in members)
        wide = (COLUMNS - NUMBER_COLUMNS * numbers) // (len(members) - numbers)
        x = 0
        for member in members:
            width = NUMBER_COLUMNS if member["type"] == "stat" else wide
            panels.append({"id": next(ids), **member, "gridPos": {"x": x, "y": y + 1, "w": width, "h": 8}})
            x += width
        y += 9
    everything = {"selected": True, "text": ["All"], "value": ["$__all"]}
    variables = [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        {
            "name": "instance",
            "label": "Server",
            "type": "query",
            "datasource": DATASOURCE,
            "query": {"query": "label_values(dcgan_server_info, instance)", "refId": "instance"},
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": everything,
        },
    ]
    return {
        "uid": "dcgan",
        "title": "dcgan",
        "description": "A gRPC service of GAN generators: what its callers see, and why.",
        "tags": ["dcgan"],
        "schemaVersion": 41,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": variables},
        "panels": panels,
    }


def written() -> str:
    """Writes it as Grafana imports it."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    Path(__file__).with_suffix(".json").write_text(written())
