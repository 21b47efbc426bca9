"""The program of `make bench-gpu`, tried on a CPU, so that it is known to work where a GPU is to be had."""

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


def test_it_compares_pixels_and_measures_servers_beside_raw_onnxruntime(tmp_path: Path):
    """All of its parts, in seconds: no call fails, and on a CPU pixels don't depend on the batch."""
    command = [sys.executable, str(PROGRAM), "--device", "cpu", "--quick", "--model", "fashion", "--output", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    tables = json.loads((tmp_path / "gpu.json").read_text())
    for row in tables["float32: pixels beside the CPU's"]:
        assert row["max_levels"] == 0
        assert row["as_in_batches_of_one"]
        assert row["whatever_stands_beside"]
    assert all(row["images_per_s"] > 0 and not row["failure"] for row in tables["float32: raw onnxruntime"])
    served = tables["float32: servers"]
    assert [(row["servers"], row["format"], row["images"]) for row in served] == [(2, "RAW", 8), (2, "PNG", 1)]
    assert all(row["images_per_s"] > 0 and row["failed"] == 0 and row["device_busy"] > 0 for row in served)
    assert (tmp_path / "gpu.md").read_text() in done.stdout
