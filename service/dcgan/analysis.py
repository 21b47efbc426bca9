"""What is asked about images: the latents that they come from, and what the discriminator says of them.

The graphs run on the device's threads beside the generator. Refining is one step after the other, each in a batch with
those of other callers, so that nobody waits for anybody's last step.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np

from dcgan import images as codecs
from dcgan.batcher import Drawn, GraphRows, Images
from dcgan.bundle.manifest import CalibrationSpec
from dcgan.errors import InvalidField, Overloaded
from dcgan.latents import Floats32, Refinement
from dcgan.metrics import current_call
from dcgan.registry import Model
from dcgan.v1 import dcgan_pb2 as pb

_MAX_WAITING: Final = 256  # files to decode


class Uploads:
    """Decodes uploaded files, one at a time whoever sent them: a picture of all allowed pixels takes 400 MiB."""

    def __init__(self) -> None:
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="uploads")

    async def images(self, files: Sequence[tuple[bytes, str]], model: Model) -> Images:
        """Brings files to the model's form: uint8 (n, height, width, channels).

        Args:
            files: the bytes of each, and the field that it came in.
            model: whose form it is.

        Raises:
            InvalidField: a file is no image that can be read, or has too many pixels.
            Overloaded: so many wait already that these would be old when their turn came.
        """
        if self._waiting and self._waiting + len(files) > _MAX_WAITING:
            raise Overloaded(f"{self._waiting} files wait to be decoded, of at most {_MAX_WAITING}", 0.5)
        self._waiting += len(files)
        try:
            loop = asyncio.get_running_loop()
            run = loop.run_in_executor
            return np.stack([await run(self._thread, _image, data, name, model) for data, name in files])
        finally:
            self._waiting -= len(files)


async def latents_of(images: Images, refine_steps: int, model: Model) -> Floats32:
    """Finds latents of images, uint8 (n, height, width, channels), by the encoder and then by gradient steps.

    Returns:
        float32 (n, dim).

    Raises:
        Overloaded, DeadlineExceeded: as `Batcher.submit`.
    """
    latents = _finite((await _ran(GraphRows("encoder", (images,)), model)).output(0), "encoder")
    if not refine_steps:
        return latents
    refinement = Refinement(latents, refine_steps, model.bundle.manifest.latent.prior)
    runs = refine_steps + 1  # the last one only says how good the last step was
    deadline = current_call.get().deadline
    with model.batcher.reserved("latent_gradient", runs * len(images), deadline) as used:
        for _ in range(runs):
            rows = GraphRows("latent_gradient", (refinement.latents, images))
            drawn = await _ran(rows, model, admitted=True)
            used(rows.count)
            refinement.take(drawn.output(0), drawn.output(1))
    return refinement.best


async def scores_of(images: Images, model: Model) -> list[pb.Score]:
    """Asks the discriminator about images, uint8 (n, height, width, channels).

    Raises:
        Overloaded, DeadlineExceeded: as `Batcher.submit`.
    """
    drawn = await _ran(GraphRows("discriminator", (images,)), model)
    calibration = model.bundle.manifest.calibration
    assert calibration is not None  # a bundle with a discriminator has one
    return _scores(_finite(drawn.output(0), "discriminator"), calibration)


def errors_of(images: Images, reconstructions: Images) -> list[float]:
    """Computes the mean squared error of each image, uint8 (n, height, width, channels), for pixels in [-1, 1]."""
    apart = (images.astype(np.float64) - reconstructions) / 127.5
    errors: list[float] = np.square(apart).mean(axis=(1, 2, 3)).tolist()
    return errors


def _scores(logits: Floats32, calibration: CalibrationSpec) -> list[pb.Score]:
    values = logits.astype(np.float64)
    with np.errstate(over="ignore"):  # far from 0 it is 0 or 1
        probabilities = 1.0 / (1.0 + np.exp(-(calibration.slope * values + calibration.offset)))
    percentiles = np.interp(values, calibration.real_quantiles, np.arange(101.0))
    rows = zip(values.tolist(), probabilities.tolist(), percentiles.tolist(), strict=True)
    return [pb.Score(logit=logit, probability=probability, percentile=part) for logit, probability, part in rows]


def _finite(values: Floats32, graph: str) -> Floats32:
    if not np.isfinite(values).all():
        raise RuntimeError(f"the {graph} gave numbers that are not finite: a defect of the bundle")
    return values


async def _ran(rows: GraphRows, model: Model, *, admitted: bool = False) -> Drawn:
    call = current_call.get()
    drawn = await model.batcher.submit(rows, call.deadline, admitted=admitted, trace=call.trace)
    call.queue_s += drawn.queue_s
    call.device_s += drawn.device_s
    return drawn


def _image(data: bytes, name: str, model: Model) -> Images:
    spec = model.bundle.manifest.image
    try:
        image = codecs.decode(data, spec.channels, model.limits.max_upload_pixels)
    except ValueError as error:
        allowed = f"a PNG, JPEG, WebP, GIF or BMP file of up to {model.limits.max_upload_pixels:,} pixels; {error}"
        raise InvalidField(name, f"{len(data)} bytes", allowed) from None
    return codecs.fitted(image, spec.height, spec.width)
