"""From arrays to answers, as the bytes that travel: images encoded in threads, latents as bytes.

Encoders release the GIL, so a pool of as many threads as there are cores keeps the event loop free.
Pixels of RAW answers are written beside protobuf, which would copy them three times through fresh memory: 1.5 ms of
the event loop for 800 KB, against 0.01 ms for one copy.
Source of the format: protobuf.dev, "Encoding", length-delimited records.
"""

import asyncio
import datetime
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias, get_args

import numpy as np
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from dcgan import images as codecs
from dcgan.batcher import Drawn, Images
from dcgan.bundle.manifest import CalibrationSpec, EncoderSpec
from dcgan.cgroup import usable_cores
from dcgan.metrics import Metrics, current_call
from dcgan.registry import Model, Refusal
from dcgan.requests.fields import Format
from dcgan.tracing import exemplar
from dcgan.v1 import dcgan_pb2 as pb

_FORMATS: Final["dict[Format, pb.Format.ValueType]"] = {
    "png": pb.FORMAT_PNG,
    "jpeg": pb.FORMAT_JPEG,
    "webp": pb.FORMAT_WEBP,
    "raw": pb.FORMAT_RAW,
}
_LENGTH_DELIMITED: Final = 2  # wire type

Buffer: TypeAlias = bytes | memoryview

_PRIORS: Final = {"normal": pb.PRIOR_NORMAL, "uniform": pb.PRIOR_UNIFORM}


class Answers:
    """Makes the parts of answer messages; owns the threads that encode."""

    def __init__(self, metrics: Metrics) -> None:
        self._encode_seconds = metrics.stage_seconds.labels("encode")
        self._cores = usable_cores()
        self._pool = ThreadPoolExecutor(self._cores, thread_name_prefix="encode")
        for image_format in get_args(codecs.Format):  # so that no call waits while an encoder's library is loaded
            codecs.encode(np.zeros((1, 1, 1), np.uint8), image_format)

    async def packed(self, answer: Message, drawn: Drawn, image_format: Format) -> bytes:
        """Serializes an answer together with its images, and counts what they cost for the call's log line.

        Args:
            answer: any message with a field `images`, which is empty.
            drawn: what belongs into it.
            image_format: how to encode it.
        """
        started = time.monotonic()
        _, height, width, channels = drawn.images[0].shape
        batch = pb.ImageBatch(
            format=_FORMATS[image_format], height=height, width=width, channels=channels, count=drawn.count
        )
        pixels: list[Buffer] = []
        if image_format == "raw":
            pixels = _record(batch, "raw", [piece.data for piece in drawn.images])
        else:
            batch.encoded.extend(await self._encoded(drawn.images, image_format))
        images = _record(answer, "images", [batch.SerializeToString(), *pixels])
        data = b"".join([answer.SerializeToString(), *images])
        ended = time.monotonic()
        seconds = ended - started
        call = current_call.get()
        self._encode_seconds.observe(seconds, exemplar(call.trace))
        if call.trace is not None:
            call.trace.stage("encode", started, ended)
        call.image_count += drawn.count
        call.queue_s += drawn.queue_s
        call.device_s += drawn.device_s
        call.encode_s += seconds
        return data

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


def description(model: Model, refusals: Iterable[Refusal]) -> pb.GetModelResponse:
    """Describes a model from its manifest, and the versions that can't take its place."""
    manifest = model.bundle.manifest
    training = manifest.training
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
                turned=spec.turned,
                turned_by_chance=spec.turned_by_chance,
            )
            for name, spec in sorted(manifest.directions.items())
        ],
        create_time=_timestamp(manifest.created),
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
        calibration=_calibration(manifest.calibration),
        encoder=_encoder(manifest.encoder, model),
        refused_versions=[
            pb.RefusedVersion(version=refusal.version, reason=refusal.reason, refuse_time=_timestamp(refusal.time))
            for refusal in refusals
        ],
        variants=[
            pb.Variant(name=name, mean_levels=spec.mean_levels, max_levels=spec.max_levels)
            for name, spec in sorted(manifest.variants.items())
        ],
    )


def _timestamp(time: datetime.datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp


def _calibration(spec: CalibrationSpec | None) -> pb.Calibration | None:
    if spec is None:
        return None
    return pb.Calibration(auc=spec.auc, real_count=spec.real_count, generated_count=spec.generated_count)


def _encoder(spec: EncoderSpec | None, model: Model) -> pb.Encoder | None:
    if spec is None:
        return None
    return pb.Encoder(refines="latent_gradient" in model.parts, figures=spec.figures)


def _record(message: Message, field: str, content: list[Buffer]) -> list[Buffer]:
    """Writes a length-delimited field of a message: its tag, its length, and its content as it is."""
    size = sum(part.nbytes if isinstance(part, memoryview) else len(part) for part in content)
    number = message.DESCRIPTOR.fields_by_name[field].number
    return [_varint(number << 3 | _LENGTH_DELIMITED) + _varint(size), *content]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _encode_all(images: list[Images], image_format: codecs.Format) -> list[bytes]:
    return [codecs.encode(image, image_format) for image in images]
