"""The model that serves now: bundle, generator and batcher together, with its identity and limits.

A call takes it once, at its start, and answers with that model's identity to the end.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import onnxruntime

from dcgan.batcher import Batcher
from dcgan.bundle import Bundle
from dcgan.errors import VersionNotServed
from dcgan.generator import Generator, Part, PartName
from dcgan.metrics import Metrics
from dcgan.v1 import dcgan_pb2 as pb

MAX_REQUEST_BYTES: Final = 4 << 20
VARIANT: Final = "float32"

_MAX_ANSWER_BYTES: Final = 3_670_016  # 3.5 MiB: under the 4 MiB that gRPC clients take, with room for the rest
_CHUNK_BYTES: Final = 200_000
_MAX_UPLOADS: Final = 64
_MAX_UPLOAD_PIXELS: Final = 1 << 24  # 4096 x 4096: what a telephone takes; up to 400 MiB while it is decoded
_MAX_REFINE_STEPS: Final = 200


@dataclass(frozen=True, slots=True)
class Model:
    """One loaded model.

    Attributes:
        chunk_images: images in one message of a stream, about 200 KB raw.
        parts: the graphs beside the generator that its bundle has, by name; the batcher runs them.
    """

    bundle: Bundle
    batcher: Batcher
    identity: pb.Identity
    limits: pb.Limits
    chunk_images: int
    golden_exact: bool
    parts: Mapping[PartName, Part]


class Registry:
    """Holds the model that serves."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def current(self, version: str = "") -> Model:
        """Gives the model that serves now.

        Raises:
            VersionNotServed: a version was named and another one serves.
        """
        served = self._model.identity.version
        if version and version != served:
            raise VersionNotServed(version, served)
        return self._model


@asynccontextmanager
async def started(
    bundle: Bundle,
    generator: Generator,
    parts: Mapping[PartName, Part],
    metrics: Metrics,
    max_queued_rows: int,
    on_death: Callable[[BaseException], None],
) -> AsyncIterator[Model]:
    """Puts a batcher before a generator, for as long as the context lasts."""
    manifest = bundle.manifest
    image = manifest.image
    image_bytes = image.size_bytes + 4 * manifest.latent.dim  # an image in an answer may bring its latent
    identity = pb.Identity(
        name=manifest.name,
        version=manifest.version,
        manifest_digest=bundle.digest,
        variant=VARIANT,
        provider=generator.provider,
        onnxruntime_version=onnxruntime.__version__,
    )
    metrics.model.info({field.name: getattr(identity, field.name) for field in identity.DESCRIPTOR.fields})
    metrics.device_threads.set(generator.threads)
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
    async with batcher:
        yield Model(
            bundle,
            batcher,
            identity,
            _limits(image_bytes),
            max(1, min(256, _CHUNK_BYTES // image_bytes)),
            generator.golden_exact,
            parts,
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
