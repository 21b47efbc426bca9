"""From arrays to answer messages: images encoded in threads, latents as bytes.

Encoders release the GIL, so a pool of as many threads as there are cores keeps the event loop free.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from dcgan import images as codecs
from dcgan.batcher import Drawn, Images
from dcgan.generator import usable_cores
from dcgan.metrics import Metrics, current_call
from dcgan.registry import Model
from dcgan.requests import Format
from dcgan.v1 import dcgan_pb2 as pb

_FORMATS: Final["dict[Format, pb.Format.ValueType]"] = {
    "png": pb.FORMAT_PNG,
    "jpeg": pb.FORMAT_JPEG,
    "webp": pb.FORMAT_WEBP,
    "raw": pb.FORMAT_RAW,
}
_PRIORS: Final = {"normal": pb.PRIOR_NORMAL, "uniform": pb.PRIOR_UNIFORM}


class Answers:
    """Makes the parts of answer messages; owns the threads that encode."""

    def __init__(self, metrics: Metrics) -> None:
        self._encode_seconds = metrics.stage_seconds.labels("encode")
        self._cores = usable_cores()
        self._pool = ThreadPoolExecutor(self._cores, thread_name_prefix="encode")

    async def image_batch(self, drawn: Drawn, image_format: Format) -> pb.ImageBatch:
        """Encodes images, and counts what they cost for the call's log line."""
        started = time.monotonic()
        _, height, width, channels = drawn.images[0].shape
        batch = pb.ImageBatch(
            format=_FORMATS[image_format], height=height, width=width, channels=channels, count=drawn.count
        )
        if image_format == "raw":
            batch.raw = b"".join(piece.data for piece in drawn.images)
        else:
            batch.encoded.extend(await self._encoded(drawn.images, image_format))
        seconds = time.monotonic() - started
        self._encode_seconds.observe(seconds)
        call = current_call.get()
        call.image_count += drawn.count
        call.queue_s += drawn.queue_s
        call.device_s += drawn.device_s
        call.encode_s += seconds
        return batch

    async def _encoded(self, pieces: list[Images], image_format: codecs.Format) -> list[bytes]:
        loop = asyncio.get_running_loop()
        images = [image for piece in pieces for image in piece]
        size = -(-len(images) // self._cores)
        parts = [images[start : start + size] for start in range(0, len(images), size)]
        encoded = await asyncio.gather(
            *(loop.run_in_executor(self._pool, _encode_all, part, image_format) for part in parts)
        )
        return [one for part in encoded for one in part]


def latent_batch(drawn: Drawn) -> pb.LatentBatch:
    """Packs the latents of what was drawn."""
    values = b"".join(piece.astype("<f4", copy=False).data for piece in drawn.latents)
    return pb.LatentBatch(count=drawn.count, dim=drawn.latents[0].shape[1], values=values)


def description(model: Model) -> pb.GetModelResponse:
    """Describes a model from its manifest."""
    manifest = model.bundle.manifest
    training = manifest.training
    created = Timestamp()
    created.FromDatetime(manifest.created)
    return pb.GetModelResponse(
        identity=model.identity,
        latent_dim=manifest.latent.dim,
        prior=_PRIORS[manifest.latent.prior],
        height=manifest.image.height,
        width=manifest.image.width,
        channels=manifest.image.channels,
        limits=model.limits,
        directions=[
            pb.Direction(
                name=name,
                min_strength=spec.min_strength,
                max_strength=spec.max_strength,
                description=spec.description,
            )
            for name, spec in sorted(manifest.directions.items())
        ],
        create_time=created,
        training=pb.Training(
            recipe=training.recipe,
            dataset=training.dataset,
            dataset_digest=training.dataset_digest,
            seed=training.seed,
            images_seen=training.images_seen,
        ),
        figures=manifest.figures,
        licence=manifest.licence,
        attribution=manifest.attribution,
        golden_exact=model.golden_exact,
    )


def _encode_all(images: list[Images], image_format: codecs.Format) -> list[bytes]:
    return [codecs.encode(image, image_format) for image in images]
