"""The methods of the API: check, compute, answer. Errors are raised; `calls` makes statuses of them.

Requests arrive as messages, with the model that serves when the call begins; answers leave as bytes.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from typing import Final

import numpy as np

from dcgan import analysis, latents, requests
from dcgan.answers import Answers, description, latent_batch
from dcgan.batcher import Drawn, LatentRows, Rows, ValueRows
from dcgan.errors import BundleChanged, Draining
from dcgan.metrics import Metrics, current_call
from dcgan.registry import Model, Refusal
from dcgan.v1 import dcgan_pb2 as pb

_AHEAD: Final = 2  # chunks of a stream on the device or in the queue while one is encoded and sent


class GeneratorServicer:
    """Answers calls, each with the model that it is given.

    Set `draining` to end streams at their next chunk's edge; calls with one answer are finished.

    Args:
        refusals: versions that can't serve, for GetModel.
        metrics: to count in.
    """

    def __init__(self, refusals: Mapping[str, Refusal], metrics: Metrics) -> None:
        self._refusals = refusals
        self._answers = Answers(metrics)
        self._uploads = analysis.Uploads()
        self._algebra = ThreadPoolExecutor(1, thread_name_prefix="algebra")
        self.draining = False

    async def GetModel(self, request: pb.GetModelRequest, model: Model) -> bytes:
        """Describes the model that serves now."""
        return description(model, self._refusals.values()).SerializeToString()

    async def Sample(self, request: pb.SampleRequest, model: Model) -> bytes:
        """Draws a few images into one message."""
        want = requests.sampling(request, model)
        rows = await self._rows(want.source, model)
        drawn = await _drawn(model, rows)
        answer = pb.SampleResponse(identity=model.identity, seed=want.seed)
        if want.include_scores:
            drawn, best, scores = await _scored(drawn, want.keep_best, model)
            answer.scores.extend(scores)
            answer.indices.extend(want.first_index + at for at in best)
        if want.include_latents:
            answer.latents.CopyFrom(latent_batch(drawn))
        return await self._answers.packed(answer, drawn, want.format)

    async def StreamSamples(self, request: pb.StreamSamplesRequest, model: Model) -> AsyncGenerator[bytes, None]:
        """Draws any number of images, in chunks."""
        want = requests.sampling(request, model)
        rows = await self._rows(want.source, model)

        async def draw(start: int, stop: int) -> Drawn:
            return await _drawn(model, rows.part(start, stop), admitted=start > 0)

        async with aclosing(self._chunks(draw, 0, rows.count, model, want.first_index)) as chunks:
            async for start, drawn in chunks:
                answer = pb.StreamSamplesResponse(
                    identity=None if start else model.identity,
                    seed=want.seed,
                    latents=latent_batch(drawn) if want.include_latents else None,
                    first_index=want.first_index + start,
                )
                yield await self._answers.packed(answer, drawn, want.format)

    async def Interpolate(self, request: pb.InterpolateRequest, model: Model) -> AsyncGenerator[bytes, None]:
        """Draws the frames of a path, in chunks."""
        want = requests.interpolation(request, model)
        points = await self._evaluated(want.points, model, "points")
        path = latents.Path(points, want.frame_count, want.curve, want.closed, want.easing)

        async def draw(start: int, stop: int) -> Drawn:
            frames = await self._computed(path.frames, start, stop - start)
            return await _drawn(model, ValueRows(frames), admitted=start > want.first_frame)

        async with aclosing(self._chunks(draw, want.first_frame, want.frame_count, model, 0)) as chunks:
            async for start, drawn in chunks:
                answer = pb.InterpolateResponse(
                    identity=model.identity if start == want.first_frame else None,
                    latents=latent_batch(drawn) if want.include_latents else None,
                    first_frame=start,
                )
                yield await self._answers.packed(answer, drawn, want.format)

    async def Arithmetic(self, request: pb.ArithmeticRequest, model: Model) -> AsyncGenerator[bytes, None]:
        """Draws the means of the terms, their sum, and its neighbours."""
        want = requests.arithmetic(request, model)
        values = await self._evaluated(want.sums, model, "terms")
        parts = [
            (pb.ARITHMETIC_PART_TERM, values[:-1]),
            (pb.ARITHMETIC_PART_RESULT, values[-1:]),
            (pb.ARITHMETIC_PART_NEIGHBOUR, _neighbours(values[-1], want, model)),
        ]
        first = True  # message; a sheet is small, so it is finished rather than cut while draining
        for part, rows in parts:
            for start in range(0, len(rows), model.chunk_images):
                chunk = ValueRows(rows[start : start + model.chunk_images])
                drawn = await _drawn(model, chunk, admitted=not first)
                answer = pb.ArithmeticResponse(
                    identity=model.identity if first else None,
                    part=part,
                    first_index=start,
                    latents=latent_batch(drawn),
                )
                yield await self._answers.packed(answer, drawn, want.format)
                first = False

    async def Encode(self, request: pb.EncodeRequest, model: Model) -> bytes:
        """Finds latents of images and draws what they give."""
        want = requests.encoding(request, model)
        images = await self._uploads.images(want.uploads, model)
        drawn = await _drawn(model, ValueRows(await analysis.latents_of(images, want.refine_steps, model)))
        answer = pb.EncodeResponse(
            identity=model.identity,
            latents=latent_batch(drawn),
            errors=analysis.errors_of(images, drawn.output(0)),
        )
        return await self._answers.packed(answer, drawn, want.format)

    async def Score(self, request: pb.ScoreRequest, model: Model) -> bytes:
        """Asks the discriminator about images."""
        want = requests.scoring(request, model)
        call = current_call.get()
        if isinstance(want.source, list):
            images = await self._uploads.images(want.source, model)
        else:
            drawn = await _drawn(model, await self._rows(want.source, model))
            images = drawn.output(0)
            call.queue_s += drawn.queue_s
            call.device_s += drawn.device_s
        scores = await analysis.scores_of(images, model)
        call.image_count += len(scores)
        return pb.ScoreResponse(identity=model.identity, scores=scores, seed=want.seed).SerializeToString()

    async def _rows(self, source: LatentRows | requests.Expressions, model: Model) -> LatentRows:
        if isinstance(source, requests.Expressions):
            return ValueRows(await self._evaluated(source, model, "expressions.expressions"))
        return source

    async def _evaluated(self, wanted: requests.Expressions, model: Model, name: str) -> latents.Floats32:
        encoded = await self._encoded(wanted.uploads, model)
        return await self._computed(requests.evaluated, wanted.expressions, model, name, encoded)

    async def _encoded(self, uploads: requests.Uploads, model: Model) -> dict[latents.Image, latents.Floats32]:
        """Finds the latents of images in expressions, all of the same number of steps together."""
        found: dict[latents.Image, latents.Floats32] = {}
        for steps in sorted({image.refine_steps for image in uploads}):
            alike = {image: name for image, name in uploads.items() if image.refine_steps == steps}
            files = [(image.content, name) for image, name in alike.items() if isinstance(image.content, bytes)]
            images = await self._uploads.images(files, model)
            found.update(zip(alike, await analysis.latents_of(images, steps, model), strict=True))
        return found

    async def _computed(self, function: Callable[..., latents.Floats32], *arguments: object) -> latents.Floats32:
        """Computes latents outside of the event loop, in a thread that no encoding waits for."""
        return await asyncio.get_running_loop().run_in_executor(self._algebra, function, *arguments)

    async def _chunks(
        self,
        draw: Callable[[int, int], Awaitable[Drawn]],
        first: int,
        end: int,
        model: Model,
        offset: int,
    ) -> AsyncGenerator[tuple[int, Drawn], None]:
        """Draws rows first to end - 1 in chunks, in order, a few ahead of the reader, who sets the pace.

        Raises:
            Draining, BundleChanged: the server stops, or another version took over; names offset + the first row
                that was not given out.
        """
        ahead: deque[asyncio.Future[Drawn]] = deque()
        submitted = start = first
        try:
            while start < end:
                if self.draining:
                    raise Draining(offset + start)
                if model.successor:
                    raise BundleChanged(model.identity.version, model.successor, offset + start)
                while submitted < end and len(ahead) < _AHEAD:
                    stop = min(submitted + model.chunk_images, end)
                    ahead.append(asyncio.ensure_future(draw(submitted, stop)))
                    submitted = stop
                drawn = await ahead[0]
                ahead.popleft()
                yield start, drawn
                start += drawn.count
        finally:
            for future in ahead:
                future.cancel()
            await asyncio.gather(*ahead, return_exceptions=True)


async def _drawn(model: Model, rows: Rows, *, admitted: bool = False) -> Drawn:
    if model.closed:  # while a stream's reader had stopped reading
        raise BundleChanged(model.identity.version, model.successor)
    call = current_call.get()
    return await model.batcher.submit(rows, call.deadline, admitted=admitted, trace=call.trace)


async def _scored(drawn: Drawn, keep_best: int | None, model: Model) -> tuple[Drawn, list[int], list[pb.Score]]:
    """Scores images; with `keep_best` leaves just the best of them, best first, and tells where they stood."""
    images, rows = drawn.output(0), drawn.output(1)
    scores = await analysis.scores_of(images, model)
    if keep_best is None:
        return drawn, [], scores
    best = sorted(range(len(scores)), key=lambda at: -scores[at].logit)[:keep_best]
    kept = replace(drawn, count=len(best), outputs=([images[best]], [rows[best]]))
    return kept, best, [scores[at] for at in best]


def _neighbours(result: latents.Floats32, want: requests.Sums, model: Model) -> latents.Floats32:
    """Adds noise to the result: float32 (neighbour_count, dim), inside the cube of a uniform prior."""
    noise = latents.neighbour_noise(want.neighbour_seed, np.arange(want.neighbour_count), len(result))
    around = result + noise
    return around if model.bundle.manifest.latent.prior == "normal" else np.clip(around, -1.0, 1.0)
