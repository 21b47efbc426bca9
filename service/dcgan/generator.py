"""The generator of a bundle on a device: latents in, images out, by ONNX Runtime.

A device is what was asked for or an error; which provider runs is read back from the session, never assumed.
A CPU session computes in the thread that calls it, so as many threads as there are cores may call at once.
A GPU session is called by one thread; its batches are padded to powers of two, each of which was run once before.
"""

import importlib.metadata
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from dcgan.bundle import GENERATOR, Bundle
from dcgan.errors import BundleError, DeviceError
from dcgan.latents import Floats32

Device: TypeAlias = Literal["auto", "cuda", "cpu"]
Images: TypeAlias = NDArray[np.uint8]

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
_LARGEST_BATCH: Final = {CPU: 16, CUDA: 256}
_LONGEST_REASON: Final = 300  # characters


class Generator:
    """A session on a device that has reproduced the golden images of its bundle.

    Attributes:
        provider: the execution provider that runs, for example "CPUExecutionProvider".
        threads: how many threads should call `run` at once.
        largest_batch: rows that one run should have at most.
        rows_per_s: images a second of one thread in batches of that size, as measured at the start.
        golden_exact: whether the golden images came out byte for byte; if not, they were within tolerance.
    """

    def __init__(self, bundle: Bundle, device: Device = "auto") -> None:
        self._session = _session(bundle, device)
        self.provider = self._session.get_providers()[0]
        if device == "cuda" and self.provider != CUDA:
            raise DeviceError(f"device cuda was asked for but ONNX Runtime took {self.provider}; {_cuda_advice()}")
        self.threads = usable_cores() if self.provider == CPU else 1
        self.largest_batch = _LARGEST_BATCH.get(self.provider, 64)
        self.golden_exact = self._reproduces_golden(bundle)
        self._warm_up(bundle)
        self.rows_per_s = _rows_per_s(self.run, np.zeros((self.largest_batch, bundle.manifest.latent.dim), np.float32))

    def run(self, latents: Floats32) -> Images:
        """Draws one image for each latent.

        Args:
            latents: float32 (n, dim), C order, n at least 1.

        Returns:
            uint8 (n, height, width, channels). The same bytes for the same latent, whatever n is, on a CPU.
        """
        return self._drawn(self._padded(latents))[: len(latents)]

    def _padded(self, latents: Floats32) -> Floats32:
        if self.provider == CPU:
            return latents
        count = len(latents)
        return np.pad(latents, ((0, (1 << (count - 1).bit_length()) - count), (0, 0)))

    def _drawn(self, latents: Floats32) -> Images:
        images: Images = self._session.run(["images"], {"latents": latents})[0]
        return images

    def _checked(self, latents: Floats32, bundle: Bundle) -> Images:
        """Draws as `run` does, but refuses the bundle where that fails or doesn't give one image for each latent.

        `run` relies on it: there, too many images would be cut off, and images of another shape be passed on.
        """
        file, count, image = bundle.path / GENERATOR, len(latents), bundle.manifest.image
        padded = self._padded(latents)
        try:
            images = self._drawn(padded)
        except Exception as error:  # as in _session
            raise BundleError(file, f"can't draw {count} images on {self.provider}: {_reason(error)}") from error
        shape = (len(padded), image.height, image.width, image.channels)
        if images.dtype != np.uint8 or images.shape != shape:
            raise BundleError(file, f"gives {images.dtype} {images.shape} where it should give uint8 {shape}")
        return images[:count]

    def _reproduces_golden(self, bundle: Bundle) -> bool:
        """Runs the golden latents; refuses the bundle where the images are further off than it allows."""
        images = self._checked(bundle.golden_latents, bundle)
        if np.array_equal(images, bundle.golden_images):
            return True
        off = np.abs(images.astype(np.int16) - bundle.golden_images)
        allowed = bundle.manifest.golden
        if off.max() > allowed.max_levels or off.mean() > allowed.mean_levels:
            raise BundleError(
                bundle.path / GENERATOR,
                f"doesn't give the golden images on {self.provider}: off by {off.max()} grey levels at most and "
                f"{off.mean():.3f} in the mean, where {allowed.max_levels} and {allowed.mean_levels} are allowed",
            )
        return False

    def _warm_up(self, bundle: Bundle) -> None:
        """Runs each batch size that will occur on a GPU, largest first, so that no request pays for the first run."""
        batch = self.largest_batch
        while batch >= 1:
            self._checked(np.zeros((batch, bundle.manifest.latent.dim), np.float32), bundle)
            batch //= 2


def _rows_per_s(run: Callable[[Floats32], Images], latents: Floats32) -> float:
    """Measures the best of three runs, since a machine that stalls says nothing about a generator."""

    def run_s() -> float:
        begun = time.monotonic()
        run(latents)
        return time.monotonic() - begun

    return len(latents) / max(min(run_s() for _ in range(3)), 1e-9)


def usable_cores() -> int:
    """Counts the cores that this process may use: its affinity, and its cgroup's quota where that is less."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota(Path("/sys/fs/cgroup"))
    return affinity if quota is None else max(1, min(affinity, int(quota)))


def _cgroup_quota(root: Path) -> float | None:
    """Reads the CPU quota of a container in cores, from cgroup version 2 or 1; None without one."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    return None if quota in ("max", "-1") else int(quota) / int(period)


def _session(bundle: Bundle, device: Device) -> onnxruntime.InferenceSession:
    providers = _providers(device)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # fatal; what is less is raised, and need not be on standard error too
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(bundle.generator, options, providers=providers)
    except Exception as error:  # ONNX Runtime raises a dozen unrelated classes, RuntimeError among them
        raise BundleError(bundle.path / GENERATOR, f"ONNX Runtime can't load it: {_reason(error)}") from error


def _providers(device: Device) -> list[str]:
    """Names the providers to try for a device, best first."""
    _refuse_both_wheels()
    available = onnxruntime.get_available_providers()
    if CUDA in available and device != "cpu":
        onnxruntime.preload_dlls()
        return [CUDA, CPU]
    if device == "cuda":
        raise DeviceError(f"device cuda was asked for but this onnxruntime has only {available}; {_cuda_advice()}")
    return [CPU]


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
