"""ONNX Runtime sessions on a device: what was asked for, or an error.

Which provider runs is read back from the session, never assumed. A CPU session computes in the thread that calls it,
so as many threads as there are cores may call at once. A GPU session is called by one thread, and runs batches padded
to powers of two in memory that it took at its start.
"""

import importlib.metadata
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from dcgan.bundle.graph import Kind
from dcgan.cgroup import usable_cores
from dcgan.errors import BundleError, DeviceError

# From 1.29 on it would send its makers what it measures, and keep an identifier on the disk: it reads this once
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

from dcgan.generator.binding import Bound
from dcgan.generator.cuda import provider_options

Device: TypeAlias = Literal["auto", "cuda", "cpu"]
Array: TypeAlias = NDArray[Any]

RUNTIME_VERSION: Final = onnxruntime.__version__
CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
# For the CPU as measured. For CUDA it isn't: torch has drawn twice as many images a second in batches of 1,024 as of 64
# (an H100, float16, 64x64x3), but a single image waits for the batch before it. `make bench-gpu` goes up to 1,024.
_LARGEST_BATCH: Final = {CPU: 16, CUDA: 256}
_LONGEST_REASON: Final = 300  # characters
_Outputs = TypeVar("_Outputs")


class Session:
    """One graph on a device.

    Args:
        graph: its bytes.
        file: where they were read, for messages.
        device: what to run it on.

    Attributes:
        provider: the execution provider that runs, for example "CPUExecutionProvider".
        threads: how many threads should call `run` at once.
        largest_batch: rows that one run should have at most.

    Raises:
        BundleError: ONNX Runtime can't load the graph.
        DeviceError: the device can't be used.
    """

    def __init__(self, graph: bytes, file: Path, device: Device) -> None:
        self._file = file
        self._session = _opened(graph, file, device)
        self._inputs = [value.name for value in self._session.get_inputs()]
        self._outputs = [value.name for value in self._session.get_outputs()]
        self.provider = self._session.get_providers()[0]
        if device == "cuda" and self.provider != CUDA:
            raise DeviceError(f"device cuda was asked for but ONNX Runtime took {self.provider}; {_cuda_advice()}")
        self.threads = usable_cores() if self.provider == CPU else 1
        self.largest_batch = _LARGEST_BATCH[self.provider]
        self._bound = None if self.provider == CPU else Bound(self._session, self.batch_sizes, "cuda")

    @property
    def batch_sizes(self) -> list[int]:
        """Sizes that a GPU will see, from the largest on: the powers of two."""
        return [self.largest_batch >> halvings for halvings in range(self.largest_batch.bit_length())]

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Runs arrays of n rows each, by name, n at least 1. Gives the outputs by name, n rows each."""
        if self._bound is None:
            return dict(zip(self._outputs, self._session.run(self._outputs, inputs), strict=True))
        count = len(next(iter(inputs.values())))
        parts = [
            {name: rows.copy() for name, rows in self.lend(_part(inputs, start, start + self.largest_batch)).items()}
            for start in range(0, count, self.largest_batch)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in self._outputs}

    def lend(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Runs a batch of at most `largest_batch` rows, as `run` does, but only lends the outputs.

        On a GPU the next run writes over them; who keeps some copies them before.
        """
        return self.run(inputs) if self._bound is None else self._bound.run(inputs)

    def checked(self, inputs: dict[str, Array], kinds: Mapping[str, Kind]) -> dict[str, Array]:
        """Runs as `run` does, but refuses the bundle where that fails, or an output isn't of the dtype and row shape.

        `run` relies on it: on a CPU, rows of another shape would be passed on. What it gives, `run` gave.
        """
        count = len(next(iter(inputs.values())))
        rows = count + self._padding(count)
        padded = {name: np.resize(array, (rows, *array.shape[1:])) for name, array in inputs.items()}
        outputs = self._tried(count, lambda: self._session.run(self._outputs, padded))
        for name, array in zip(self._outputs, outputs, strict=True):
            dtype, shape = kinds[name]
            if array.dtype != dtype or array.shape != (rows, *shape):
                raise BundleError(
                    self._file, f"gives {array.dtype} {array.shape} where it should give {dtype} {(rows, *shape)}"
                )
        if self._bound is None:
            return dict(zip(self._outputs, outputs, strict=True))
        return self._tried(count, lambda: self.run(inputs))

    def _tried(self, count: int, run: Callable[[], _Outputs]) -> _Outputs:
        try:
            return run()
        except Exception as error:  # as in _opened
            raise BundleError(self._file, f"can't run {count} rows on {self.provider}: {_reason(error)}") from error

    def _padding(self, count: int) -> int:
        return 0 if self.provider == CPU else (1 << (count - 1).bit_length()) - count


def rows_per_s(run: Callable[[], object], count: int) -> float:
    """Measures rows a second: the best of three runs, since a machine that stalls says nothing about a graph."""

    def run_s() -> float:
        begun = time.monotonic()
        run()
        return time.monotonic() - begun

    return count / max(min(run_s() for _ in range(3)), 1e-9)


def _part(inputs: dict[str, Array], start: int, stop: int) -> dict[str, Array]:
    return {name: array[start:stop] for name, array in inputs.items()}


def _opened(graph: bytes, file: Path, device: Device) -> onnxruntime.InferenceSession:
    providers = _providers(device, graph)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # fatal; what is less is raised, and need not be on standard error too
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    try:
        # who asked for CUDA is told what is wrong with it, and not just that the CPU was taken instead
        return onnxruntime.InferenceSession(graph, options, providers=providers, enable_fallback=device != "cuda")
    except Exception as error:  # ONNX Runtime raises a dozen unrelated classes, RuntimeError among them
        raise BundleError(file, f"ONNX Runtime can't load it: {_reason(error)}") from error


def _providers(device: Device, graph: bytes) -> list[tuple[str, dict[str, str]]]:
    """Names the providers to try for a device, best first, with their options."""
    _refuse_both_wheels()
    available = onnxruntime.get_available_providers()
    if CUDA in available and device != "cpu":
        onnxruntime.preload_dlls()
        return [(CUDA, provider_options(graph, _LARGEST_BATCH[CUDA])), (CPU, {})]
    if device == "cuda":
        raise DeviceError(f"device cuda was asked for but this onnxruntime has only {available}; {_cuda_advice()}")
    return [(CPU, {})]


def _refuse_both_wheels() -> None:
    """Refuses an environment with both onnxruntime wheels: they own the same files, and the last one written wins."""
    names = {distribution.name for distribution in importlib.metadata.distributions()}
    if {"onnxruntime", "onnxruntime-gpu"} <= names:
        raise DeviceError(
            "both onnxruntime and onnxruntime-gpu are installed, and they overwrite each other; uninstall both, "
            "then install dcgan[cpu] or dcgan[gpu]"
        )


def _cuda_advice() -> str:
    return "check nvidia-smi and install dcgan[gpu] instead of dcgan[cpu], or use --device cpu"


def _reason(error: Exception) -> str:
    """Gives the first line of an error; where it is long the end, since ONNX Runtime begins with its own C++ names."""
    line = str(error).strip().split("\n", 1)[0]
    return line if len(line) <= _LONGEST_REASON else f"...{line[-_LONGEST_REASON:]}"
