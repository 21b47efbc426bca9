"""Which device a form of the generator is for, and what it costs elsewhere."""

import re
from pathlib import Path
from typing import Final

from dcgan.errors import DeviceError
from dcgan.generator.sessions import CUDA, Device

_CPUINFO: Final = Path("/proc/cpuinfo")
_DOT_PRODUCTS: Final = re.compile(r"\b(avx512_vnni|avx_vnni|asimddp)\b")  # of bytes, on x86-64 and on arm64


def device_for(variant: str, device: Device) -> Device:
    """Gives the device for a variant: int8 runs on the CPU, where nothing else was asked for.

    Raises:
        DeviceError: int8 was asked for on CUDA, for which ONNX Runtime has no such convolutions.
    """
    if variant != "int8":
        return device
    if device == "cuda":
        raise DeviceError("variant int8 is for CPUs; with --device cuda use --variant float16 or float32")
    return "cpu"


def drawback(variant: str, provider: str, cpuinfo: Path = _CPUINFO) -> str:
    """Says for people what a variant costs on this machine; empty where it is what the machine is made for."""
    if variant == "float16" and provider != CUDA:
        return f"{provider} computes float16 in float32 and converts: slower than float32; float16 is for CUDA"
    if variant == "int8" and cpuinfo.is_file() and not _DOT_PRODUCTS.search(cpuinfo.read_text(errors="replace")):
        return (  # as measured on a Zen 5 whose VNNI was hidden from ONNX Runtime
            "this processor has no dot products of bytes (VNNI on x86-64): int8 is 1.7 times as fast as float32 at 64 "
            "pixels, where it could be 2.8 times"
        )
    return ""
