"""What one writes by hand in an hour: grpc.aio, a thread for each core, one run of the session for each image.

It speaks our proto, takes latents and answers RAW. No batching, no admission, no deadlines, no logs, no metrics.
Run by peers.py: `plain_server.py MODEL PORT THREADS`.
"""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import onnxruntime

from dcgan.v1 import dcgan_pb2 as pb
from dcgan.v1 import dcgan_pb2_grpc


class Plain(dcgan_pb2_grpc.GeneratorServiceServicer):
    """Answers Sample, for latents given by their values."""

    def __init__(self, model: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = 1, 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._pool = ThreadPoolExecutor(threads)

    async def Sample(self, request: pb.SampleRequest, context: grpc.aio.ServicerContext) -> pb.SampleResponse:  # noqa: ARG002
        """Runs the session in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._sample, request)

    def _sample(self, request: pb.SampleRequest) -> pb.SampleResponse:
        given = request.latents
        latents = np.frombuffer(given.values, np.float32).reshape(given.count, given.dim)
        images = self._session.run(["images"], {"latents": latents})[0]
        count, height, width, channels = images.shape
        answer = pb.ImageBatch(format=pb.FORMAT_RAW, height=height, width=width, channels=channels, count=count)
        answer.raw = images.tobytes()
        return pb.SampleResponse(images=answer)


async def main(model: str, port: str, threads: str) -> None:
    """Serves until it is killed."""
    server = grpc.aio.server()
    dcgan_pb2_grpc.add_GeneratorServiceServicer_to_server(Plain(model, int(threads)), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
