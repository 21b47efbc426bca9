"""Asks a server of the V2 protocol for one image, with Triton's own client, and keeps the message that was sent.

Run by peers.py in the environment of the peer: `v2_client.py TARGET LATENT REQUEST IMAGE`, the last three files: the
bytes of a latent, where to write the message that was sent, and where to write the bytes of the image.
"""

import sys
from pathlib import Path

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc


def main(target: str, latent: str, request: str, image: str) -> None:
    """Asks once."""
    values = Path(latent).read_bytes()
    message = service_pb2.ModelInferRequest(model_name="generator", raw_input_contents=[values])
    message.inputs.add(name="latents", datatype="FP32", shape=[1, len(values) // 4])
    with grpc.insecure_channel(target) as channel:
        answer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(message, timeout=10.0)
    Path(image).write_bytes(answer.raw_output_contents[0])
    Path(request).write_bytes(message.SerializeToString())


if __name__ == "__main__":
    main(*sys.argv[1:])
