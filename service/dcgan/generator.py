"""The generator of a bundle on a device: latents in, images out, by ONNX Runtime.

A device is what was asked for or an error; which provider runs is read back from the session, never assumed.
A CPU session computes in the thread that calls it, so as many threads as there are cores may call at once.
A GPU session is called by one thread; its batches are padded to powers of two, each of which was run once before.
"""

import importlib.metadata
import os
import time
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
        self._warm_up(bundle.manifest.latent.dim)
        self.rows_per_s = self._measured(bundle.manifest.latent.dim)

    def run(self, latents: Floats32) -> Images:
        """Draws one image for each latent.

        Args:
            latents: float32 (n, dim), C order, n at least 1.

        Returns:
            uint8 (n, height, width, channels). The same bytes for the same latent, whatever n is, on a CPU.
        """
        count = len(latents)
        if self.provider != CPU:
            padding = (1 << (count - 1).bit_length()) - count
            latents = np.pad(latents, ((0, padding), (0, 0)))
        images: Images = self._session.run(["images"], {"latents": latents})[0]
        return images[:count]

    def _reproduces_golden(self, bundle: Bundle) -> bool:
        """Runs the golden latents; refuses the bundle where the images are further off than it allows."""
        images = self.run(bundle.golden_latents)
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

    def _warm_up(self, dim: int) -> None:
        """Runs each batch size that will occur on a GPU, largest first, so that no request pays for the first run."""
        batch = self.largest_batch
        while batch >= 1:
            self.run(np.zeros((batch, dim), np.float32))
            batch //= 2

    def _measured(self, dim: int) -> float:
        latents = np.zeros((self.largest_batch, dim), np.float32)
        begun = time.monotonic()
        self.run(latents)
        return self.largest_batch / max(time.monotonic() - begun, 1e-9)


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
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(bundle.generator, options, providers=providers)
    except Exception as error:  # ONNX Runtime raises a dozen unrelated classes, RuntimeError among them
        raise BundleError(bundle.path / GENERATOR, f"ONNX Runtime can't load it: {_first_line(error)}") from error


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


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:300]
