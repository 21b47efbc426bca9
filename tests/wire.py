"""Requests as bare messages, and what to read of their answers and refusals; for tests over the wire."""

import grpc
import numpy as np
import pytest

from dcgan import errors
from dcgan.status import error_of
from dcgan.v1 import dcgan_pb2 as pb

DIM = 8
S = pb.SampleRequest
E = pb.ExpressionList


def seed_node(seed, index=0):
    """A node that names a latent."""
    return pb.Node(seed=pb.SeedNode(seed=seed, index=index))


def one(*nodes, **fields):
    """An expression of these nodes."""
    return pb.Expression(nodes=nodes, **fields)


def seeds(**fields):
    """A raw Sample request with a seed range."""
    return pb.SampleRequest(seeds=pb.SeedRange(**fields), format=pb.FORMAT_RAW, include_latents=True)


def pixels(batch):
    """Reads a raw image batch as an array."""
    shape = batch.count, batch.height, batch.width, batch.channels
    return np.frombuffer(batch.raw, np.uint8).reshape(shape)


def values(batch):
    """Reads a latent batch as an array."""
    return np.frombuffer(batch.values, "<f4").reshape(batch.count, batch.dim)


async def _read_all(call):
    return [answer async for answer in call]


async def refused(call) -> tuple[grpc.StatusCode, errors.DcganError]:
    """Awaits a call that must fail: its code and the error that a client makes of it."""
    ending = _read_all(call) if isinstance(call, grpc.aio.UnaryStreamCall) else call
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await ending
    error = refusal.value
    return error.code(), error_of(error.code(), error.details(), error.trailing_metadata())
