"""Many clients at once on the bundled model: everybody gets what they asked for."""

import asyncio
import random

import grpc
import numpy as np

from conftest import metrics_of, serving_here
from dcgan import bundle as bundles
from dcgan.generator import Generator
from dcgan.latents import draw
from dcgan.v1 import dcgan_pb2 as pb
from dcgan.v1 import dcgan_pb2_grpc

CLIENTS, CALLS = 64, 50


async def test_64_clients_with_50_mixed_requests_each_get_their_own_images():
    """Compared with the generator run alone; batches of more than one row show in the metrics."""
    path = bundles.locate("fashion")
    bundle = bundles.load(path)
    expected = Generator(bundle, "cpu").run(draw(5, np.arange(64), 100, "normal"))
    async with serving_here(path) as running:

        async def ask(number: int) -> int:
            chooser = random.Random(number)
            images = 0
            async with grpc.aio.insecure_channel(running.target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                stub = dcgan_pb2_grpc.GeneratorServiceStub(channel)
                for _ in range(CALLS):
                    first, count = chooser.randrange(32), chooser.choice([1, 1, 1, 2, 4, 9, 32])
                    source = pb.SeedRange(seed=5, first_index=first, count=count)
                    answer = await stub.Sample(pb.SampleRequest(seeds=source, format=pb.FORMAT_RAW), timeout=60)
                    shape = answer.images.count, 28, 28, 1
                    drawn = np.frombuffer(answer.images.raw, np.uint8).reshape(shape)
                    np.testing.assert_array_equal(drawn, expected[first : first + count])
                    images += count
            return images

        images = sum(await asyncio.gather(*map(ask, range(CLIENTS))))
        text = await asyncio.to_thread(metrics_of, running)
    metrics = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(metrics['dcgan_requests_total{code="OK",method="Sample"}']) == CLIENTS * CALLS
    assert float(metrics["dcgan_images_total"]) == images
    assert float(metrics["dcgan_batch_rows_count"]) < float(metrics["dcgan_images_total"])
    assert float(metrics['dcgan_batch_rows_bucket{le="1.0"}']) < float(metrics["dcgan_batch_rows_count"])
