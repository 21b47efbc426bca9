"""The model that serves now: bundle, generator and batcher together, with its identity and limits.

A call takes it once, at its start, and answers with that model's identity to the end. Another version takes over as a
whole: calls that come later take the new one, and the old one is closed when nobody needs it any more.
"""

import asyncio
import datetime
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from dcgan.batcher import Batcher
from dcgan.bundle import Bundle
from dcgan.bundle.versions import State
from dcgan.errors import VersionNotServed
from dcgan.generator import RUNTIME_VERSION, Generator, Part, PartName
from dcgan.metrics import Metrics
from dcgan.v1 import dcgan_pb2 as pb

MAX_REQUEST_BYTES: Final = 4 << 20

_MAX_ANSWER_BYTES: Final = 3_670_016  # 3.5 MiB: under the 4 MiB that gRPC clients take, with room for the rest
_CHUNK_BYTES: Final = 200_000
_MAX_UPLOADS: Final = 64
_MAX_UPLOAD_PIXELS: Final = 1 << 24  # 4096 x 4096: what a telephone takes; up to 400 MiB while it is decoded
_MAX_REFINE_STEPS: Final = 200


class Users:
    """Counts who uses something, each for as long as a `with` block lasts. For one event loop."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def __enter__(self) -> None:
        self._count += 1
        self._none.clear()

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        if not self._count:
            self._none.set()

    async def gone(self) -> None:
        """Waits until nobody does."""
        await self._none.wait()


@dataclass(slots=True, eq=False)
class Model:
    """One loaded model.

    Attributes:
        bundle: what it was loaded from, without the graphs.
        chunk_images: images in one message of a stream, about 200 KB raw.
        parts: names of the graphs beside the generator that its bundle has; the batcher runs them.
        calls: with one answer that use it, and streams: that do.
        successor: the version that has taken over; empty while this one serves.
        closed: whether it draws no more.
    """

    bundle: Bundle
    batcher: Batcher
    identity: pb.Identity
    limits: pb.Limits
    chunk_images: int
    golden_exact: bool
    parts: frozenset[PartName]
    calls: Users = field(default_factory=Users)
    streams: Users = field(default_factory=Users)
    successor: str = ""
    closed: bool = False

    async def retire(self, grace_s: float) -> None:
        """Closes it when its users are done.

        Streams end at their next chunk by themselves. One whose reader has stopped reading does so later, and is not
        waited for longer than `grace_s`.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self.streams.gone()
        await self.calls.gone()
        self.closed = True
        await self.batcher.close()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A version that was found and can't serve.

    Attributes:
        reason: for people; and time: when it was found so.
        state: what its files looked like.
    """

    version: str
    reason: str
    time: datetime.datetime
    state: State


class Registry:
    """Holds the model that serves.

    Attributes:
        refusals: by version, of those that are there and can't serve.
        loaded: models in memory: the one that serves and, for a while, the one before it.
    """

    def __init__(self, model: Model, refusals: Mapping[str, Refusal], metrics: Metrics) -> None:
        self._serving = model
        self._metrics = metrics
        self.refusals = refusals
        self.loaded = [model]
        metrics.queued_rows.set_function(lambda: sum(one.batcher.waiting for one in self.loaded))
        metrics.saturation.set_function(lambda: max(one.batcher.saturation for one in self.loaded))
        metrics.loaded_models.set_function(lambda: len(self.loaded))
        metrics.refused_versions.set_function(lambda: len(self.refusals))
        self._tell()

    def current(self, version: str = "") -> Model:
        """Gives the model that serves now.

        Raises:
            VersionNotServed: a version was named and another one serves.
        """
        served = self._serving.identity.version
        if version and version != served:
            raise VersionNotServed(version, served)
        return self._serving

    async def replace(self, model: Model, grace_s: float) -> None:
        """Lets a model take over, and returns when the one before it is closed: `Model.retire`."""
        before, self._serving = self._serving, model
        self.loaded.append(model)
        before.successor = model.identity.version
        self._tell()
        await before.retire(grace_s)
        self.loaded.remove(before)

    def longest_run_s(self) -> float:
        """Tells for how many seconds the oldest batch has been on the device; 0 where none is."""
        return max(model.batcher.longest_run_s() for model in self.loaded)

    def _tell(self) -> None:
        identity = self._serving.identity
        self._metrics.model.info({field.name: getattr(identity, field.name) for field in identity.DESCRIPTOR.fields})
        self._metrics.device_threads.set(self._serving.batcher.threads)
        self._metrics.loads.labels("taken").inc()


def started(
    bundle: Bundle,
    generator: Generator,
    parts: Mapping[PartName, Part],
    metrics: Metrics,
    max_queued_rows: int,
    on_death: Callable[[BaseException], None],
) -> Model:
    """Puts a batcher before a generator and starts its threads. For the event loop that will submit to it."""
    manifest = bundle.manifest
    image = manifest.image
    image_bytes = image.size_bytes + 4 * manifest.latent.dim  # an image in an answer may bring its latent
    identity = pb.Identity(
        name=manifest.name,
        version=manifest.version,
        manifest_digest=bundle.digest,
        variant=generator.variant,
        provider=generator.provider,
        onnxruntime_version=RUNTIME_VERSION,
    )
    batcher = Batcher(
        generator,
        dim=manifest.latent.dim,
        prior=manifest.latent.prior,
        shape=(image.height, image.width, image.channels),
        max_queued_rows=max_queued_rows,
        metrics=metrics,
        on_death=on_death,
        graphs=parts,
    )
    batcher.start()
    return Model(
        bundle.without_graphs(),
        batcher,
        identity,
        _limits(image_bytes),
        max(1, min(256, _CHUNK_BYTES // image_bytes)),
        generator.golden_exact,
        frozenset(parts),
    )


def _limits(image_bytes: int) -> pb.Limits:
    max_images = max(1, min(256, _MAX_ANSWER_BYTES // image_bytes))
    return pb.Limits(
        max_images=max_images,
        max_nodes=1024,
        max_frames=1_000_000,
        max_neighbours=64,
        max_request_bytes=MAX_REQUEST_BYTES,
        max_uploads=min(_MAX_UPLOADS, max_images),  # since Encode answers with an image for each
        max_upload_pixels=_MAX_UPLOAD_PIXELS,
        max_refine_steps=_MAX_REFINE_STEPS,
    )
