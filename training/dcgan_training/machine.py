"""Where a run is computed: device, number format, threads, build, processes. None of it is a setting of the run.

The same settings on the same machine give the same bits; on another one nearly the same, and a warning.
"""

import ctypes
import hashlib
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Literal, Self

import torch

from dcgan.errors import DeviceError
from dcgan_training.distributed import processes

Precision = Literal["bfloat16", "float32"]

_TRIM_THRESHOLD: Final = -1  # M_TRIM_THRESHOLD of <malloc.h>
_MMAP_THRESHOLD: Final = -3  # M_MMAP_THRESHOLD
_LARGEST_KEPT_BYTES: Final = 32 << 20  # the most that glibc takes for the latter


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What each checkpoint records of where it was made."""

    device: str
    precision: Precision
    threads: int
    processor: str
    torch: str
    processes: int = 1  # that shared the work; a checkpoint from before this was recorded doesn't say
    package: str = ""  # digest of this package's sources; likewise

    @classmethod
    def choose(cls, device: str, precision: str, threads: int | None) -> Self:
        """Takes the device, the number format and the number of threads that were asked for.

        Args:
            device: "auto" (a CUDA GPU where there is one), "cpu" or "cuda".
            precision: "auto" (bfloat16 where the processor or GPU has instructions for it), or a Precision.
            threads: CPU threads of torch; None takes what torch finds.

        Raises:
            DeviceError: "cuda" without a usable GPU.
        """
        if device == "cuda" and not torch.cuda.is_available():
            raise DeviceError("no CUDA GPU can be used; use --device cpu, or install torch for CUDA and its driver")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if threads is not None:
            torch.set_num_threads(threads)
        if device == "cuda":
            torch.backends.cudnn.deterministic = True  # or sums would be added in another order each time
            torch.backends.cudnn.allow_tf32 = False  # which drops thirteen bits of float32
        return cls(
            device=device,
            precision=_precision(precision, device),
            threads=torch.get_num_threads(),
            processor=_processor(device),
            torch=str(torch.__version__),  # a plain str: checkpoints hold nothing else
            processes=processes(),
            package=_package(),
        )

    def differences(self, before: "Machine") -> list[str]:
        """Says in words what differs from the machine that a run was on before."""
        pairs = ((field.name, getattr(before, field.name), getattr(self, field.name)) for field in fields(self))
        return [f"{name} {theirs} before, {ours} now" for name, theirs, ours in pairs if ours != theirs]


def keep_freed_memory() -> None:
    """Lets glibc keep the memory of freed tensors instead of giving it back to the kernel after every layer.

    Otherwise each feature map of a step is mapped, faulted in page by page and unmapped again: 2,000 to 5,000 faults
    and a fifth of the time of a step at 28 px and width 32. Does nothing where there is no glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
        mallopt(_TRIM_THRESHOLD, 1 << 30)


def placed(values: torch.Tensor, device: str | torch.device) -> torch.Tensor:
    """Brings a tensor of the CPU to a device without waiting for what the device has still to do."""
    if torch.device(device).type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)  # torch keeps the pinned memory until it was read


@contextmanager
def gpu_memory_checked() -> Iterator[None]:
    """Says what to do where the GPU's memory doesn't suffice.

    Raises:
        DeviceError: in the place of torch's own error.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            "the GPU has too little free memory for it; try a smaller --width or --set batch_size, or a GPU that "
            "nobody else uses"
        ) from error


def _package() -> str:
    """Gives a digest of this package's sources: a version number doesn't change with each of them."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _precision(asked: str, device: str) -> Precision:
    if asked == "float32":
        return "float32"
    if asked == "bfloat16" or _fast_bfloat16(device):
        return "bfloat16"
    return "float32"


def _fast_bfloat16(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _processor(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    kernels = {  # which onednn and mkl choose between beyond the capability
        "avx512_bf16": torch.cpu._is_avx512_bf16_supported(),
        "amx": torch.cpu._is_amx_tile_supported(),
    }
    extensions = [name for name, there in kernels.items() if there]
    return " ".join([platform.machine(), torch.backends.cpu.get_cpu_capability(), *extensions])
