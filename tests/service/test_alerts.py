"""What stands in deploy/observability hangs together; that it works is for tests/system/test_observability.py."""

import re
import runpy
from pathlib import Path

import pytest
import yaml

OBSERVABILITY = Path(__file__).parents[2] / "deploy/observability"
GROUPS = yaml.safe_load((OBSERVABILITY / "rules.yaml").read_text())["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"]: rule["expr"] for rule in RULES if "record" in rule}
TESTS = yaml.safe_load((OBSERVABILITY / "rules.test.yaml").read_text())["tests"]


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_is_tested_to_fire_and_to_stay_silent(name):
    """By promtool, in `make test-system`."""
    cases = [case for test in TESTS for case in test.get("alert_rule_test", []) if case["alertname"] == name]
    assert {bool(case["exp_alerts"]) for case in cases} == {True, False}


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_says_how_grave_it_is_and_links_to_its_section_of_the_runbook(name):
    """By the anchor that GitHub and others make of a heading."""
    assert ALERTS[name]["labels"]["severity"] in ("page", "ticket")
    annotations = ALERTS[name]["annotations"]
    assert set(annotations) == {"summary", "description", "runbook_url"}
    file, anchor = annotations["runbook_url"].split("#")
    headings = re.findall(r"^## (.+)$", (OBSERVABILITY / file).read_text(), re.MULTILINE)
    assert anchor == name.lower()
    assert name in headings


def test_the_runbook_has_no_section_for_an_alert_that_is_gone():
    """Nor are they in another order than the rules'."""
    headings = re.findall(r"^## (Dcgan.+)$", (OBSERVABILITY / "RUNBOOK.md").read_text(), re.MULTILINE)
    assert headings == list(ALERTS)


def test_budgets_are_watched_by_the_windows_and_burn_rates_of_the_workbook():
    """Google's, chapter 5; days of history are too slow for promtool, so those are read here."""
    fast, slow = (
        {("1h", "14.4", "5m", "1h"), ("6h", "6", "30m", "6h")},
        {("1d", "3", "2h", "1d"), ("3d", "1", "6h", "3d")},
    )
    for metric, objective in (("requests_failed", "Availability"), ("samples_slow", "Latency")):
        burn = rf"job:dcgan_{metric}:ratio_rate(\w+) > ([\d.]+) \* scalar\(slo:dcgan_{objective.lower()}_budget:ratio\)"
        enough = rf"30 \* sum_over_time\(job:dcgan_{metric}:rate5m\[(\w+)\]\) >= 10"
        for speed, wanted in (("Fast", fast), ("Slowly", slow)):
            expression = ALERTS[f"Dcgan{objective}Burns{speed}"]["expr"]
            found = re.findall(rf"{burn}\s+and {burn}\s+and {enough}", expression)
            assert {
                (long, rate, short, counted) for long, rate, short, same, counted in found if rate == same
            } == wanted


def test_recorded_windows_are_those_of_their_names():
    """A rule that ends in rate1h looks back for an hour; a ratio over 5 minutes may divide what is recorded so."""
    for name, expression in RECORDED.items():
        windows = set(re.findall(r"\[(\w+)\]", expression))
        named = set(re.findall(r"rate(\w+)$", name))
        assert windows == named or (named == {"5m"} and not windows), name


def test_rules_and_dashboard_use_documented_and_recorded_series_only():
    """So a metric that is renamed is missed here."""
    documented = set(re.findall(r"`(dcgan_\w+)`", (OBSERVABILITY / "METRICS.md").read_text()))
    histogram_series = {f"{name}_{kind}" for name in documented for kind in ("bucket", "count", "sum")}
    files = [OBSERVABILITY / "rules.yaml", OBSERVABILITY / "dashboard.json"]
    used = {name for file in files for name in re.findall(r"\b(?:[a-z]+:)?dcgan_\w+(?::\w+)?", file.read_text())}
    assert used
    assert used <= documented | histogram_series | set(RECORDED)


def test_the_dashboard_is_what_its_script_writes():
    """`python deploy/observability/dashboard.py` renews it."""
    script = runpy.run_path(str(OBSERVABILITY / "dashboard.py"))
    assert (OBSERVABILITY / "dashboard.json").read_text() == script["written"]()
