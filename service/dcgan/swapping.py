"""Versions, swapped live: a model directory is watched, and what is newest in it takes over.

A version is taken up once its files have stopped changing. It is verified and warmed beside the model that serves, in
a thread, and takes over as a whole; then the old one is closed. One that is refused leaves everything as it is. At
most two models are in memory, and the second is loaded only where there is room for it.
"""

import asyncio
import ctypes
import datetime
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import structlog

from dcgan import bundle as bundles
from dcgan.bundle import Bundle
from dcgan.bundle.versions import State, Version, newest_first, seen
from dcgan.cgroup import free_memory_bytes
from dcgan.errors import BundleError, LocalError
from dcgan.generator import Device, Generator, Part, PartName, parts_of
from dcgan.metrics import Metrics
from dcgan.registry import Model, Refusal, Registry
from dcgan.v1 import dcgan_pb2 as pb

_LOOK_EVERY_S: Final = 1.0
# measured at the peak of loading bundles of 8 to 180 MiB: their files, ONNX Runtime's copy, and what it packs of it
_PEAK_PER_BYTE: Final = 3
_PEAK_BYTES: Final = 32 << 20
_NEVER: Final[State] = ()  # no version with a manifest looks like this: it is tried again whenever it is seen

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Loaded:
    """A verified bundle, and its graphs on the device; the generator in the form that is asked for."""

    bundle: Bundle
    generator: Generator
    parts: Mapping[PartName, Part]

    @classmethod
    def of(cls, bundle: Bundle, device: Device, variant: str) -> "Loaded":
        """Warms the graphs of a bundle. Raises BundleError and DeviceError where they don't do what they should."""
        return cls(bundle, Generator(bundle, device, variant), parts_of(bundle, device))


Start: TypeAlias = Callable[[Loaded], Model]


class Versions:
    """The versions in a model directory: which one serves, which are refused, which takes over next.

    Args:
        directory: of the versions, one directory each.
        device: to warm them on.
        variant: of the generator, which each of them has to have.
        metrics: to count in.

    Attributes:
        refusals: of versions that are there and can't serve as they are, by version.
    """

    def __init__(self, directory: Path, device: Device, variant: str, metrics: Metrics) -> None:
        self._directory, self._device, self._variant, self._metrics = directory, device, variant, metrics
        self._serving: Version | None = None
        self._settling: Version | None = None  # the newest, which may still be being written
        self._readable = True
        self.refusals: dict[str, Refusal] = {}

    def first(self) -> Loaded:
        """Loads what a server begins with: the newest version that isn't refused.

        Raises:
            BundleError: there is none; says why the newest was refused.
            DeviceError: the device can't be used.
        """
        try:
            while (version := self._newest()[0]) is not None:
                try:
                    loaded = Loaded.of(_verified(version, None), self._device, self._variant)
                except BundleError as error:
                    self._refuse(version, error.message)
                else:
                    self._serving = version
                    return loaded
        except OSError as error:
            raise BundleError(self._directory, f"can't be read: {error.strerror}") from error
        why = "; ".join(refusal.reason for refusal in self.refusals.values())
        raise BundleError(
            self._directory, f"holds no version that can serve: {why or 'publish one as a directory of its own in it'}"
        )

    async def watch(self, registry: Registry, start: Start, grace_s: float) -> None:
        """Lets the newest version take over, again and again; never returns.

        Args:
            registry: whose model is replaced.
            start: makes a model of what was loaded.
            grace_s: seconds that streams of the old model get to come to a chunk's edge.
        """
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                await self.look(registry, start, grace_s)
                self._readable = True
            except OSError as error:
                if self._readable:
                    _log.warning("model directory unreadable", directory=str(self._directory), why=error.strerror)
                self._readable = False
            except Exception as error:  # whatever is wrong here, the server serves on
                _log.error("defect", exc_info=error)

    async def look(self, registry: Registry, start: Start, grace_s: float) -> None:
        """Looks once. Where a version takes over, returns when the old model is closed."""
        version, there = await asyncio.to_thread(self._newest)
        for gone in self.refusals.keys() - there:
            del self.refusals[gone]
        if version is None or version == self._serving:
            self._settling = None
        elif version != self._settling:
            self._settling = version
        elif (loaded := await self._loaded(version, registry.current().identity)) is not None:
            before = registry.current().identity.version
            model = start(loaded)
            del loaded  # else this frame would keep it for as long as the old model is in use
            _log.info("version taken", model=model.identity.name, version=model.identity.version, before=before)
            await registry.replace(model, grace_s)
            await asyncio.to_thread(_give_back_memory)

    async def _loaded(self, version: Version, serving: pb.Identity) -> Loaded | None:
        """Loads a version beside the one that serves; None where it is refused or has the same files."""
        try:
            _check_room(version)
            bundle = await asyncio.to_thread(_verified, version, serving.name)
            same = bundle.digest == serving.manifest_digest
            loaded = None if same else await asyncio.to_thread(Loaded.of, bundle, self._device, self._variant)
        except _NoRoom as error:
            self._refuse(version, error.message, again=True)
        except LocalError as error:
            self._refuse(version, error.message)
        except Exception as error:  # a bundle that we fail to refuse in order is refused too
            _log.error("defect", exc_info=error)
            self._refuse(version, f"{version.path}: loading it failed by a defect of the server: {error!r}")
        else:
            self.refusals.pop(version.name, None)
            self._serving = version
            return loaded
        return None

    def _newest(self) -> tuple[Version | None, set[str]]:
        """Finds the newest version that isn't refused as it is now, and the names of all."""
        paths = newest_first(self._directory)
        for path in paths:
            version, refusal = seen(path), self.refusals.get(path.name)
            if refusal is None or refusal.state != version.state:
                return version, {path.name for path in paths}
        return None, {path.name for path in paths}

    def _refuse(self, version: Version, reason: str, again: bool = False) -> None:
        """Remembers a refusal, until its files change or, with `again`, until the next look."""
        state = _NEVER if again else version.state
        known = self.refusals.get(version.name)
        told = reason.replace(f"{self._directory}/", "")  # where it lies on the server is no caller's business
        self.refusals[version.name] = Refusal(version.name, told, datetime.datetime.now(datetime.UTC), state)
        if known is None or known.state != state:
            self._metrics.loads.labels("refused").inc()
            _log.error("version refused", version=version.name, why=reason)


class _NoRoom(BundleError):
    """There is no memory for a second model now."""


def _check_room(version: Version) -> None:
    needed = _PEAK_PER_BYTE * version.size_bytes + _PEAK_BYTES
    free = free_memory_bytes()
    if free is not None and needed > free:
        raise _NoRoom(
            version.path,
            f"loading it beside the model that serves takes about {needed >> 20} MiB of memory, and {free >> 20} are "
            "free; it is tried again until there is room: raise the memory limit",
        )


def _give_back_memory() -> None:
    """Returns freed memory to the system; glibc would keep some of every model, in pieces too small for the next."""
    with suppress(AttributeError):  # another C library has no such function
        ctypes.CDLL(None).malloc_trim(0)


def _verified(version: Version, name: str | None) -> Bundle:
    """Reads a bundle and checks that it is the version that it is published as, of the model that serves."""
    bundle = bundles.load(version.path)
    manifest = bundle.manifest
    if manifest.version != version.name:
        raise BundleError(
            version.path, f"states version {manifest.version!r}; its directory must be called like its version"
        )
    if name is not None and manifest.name != name:
        raise BundleError(version.path, f"is a version of {manifest.name!r}, but {name!r} is what is served here")
    return bundle
