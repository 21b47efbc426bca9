"""Clients of a server, blocking and asyncio: arrays in, arrays out, our errors.

`sync` and `aio` make the calls. Everything else is shared: `sources`, `uploads` and `messages` between Python values
and the API, `results` what comes back, `streams`, `encoding` and `scores` what to ask next, `models` the description of
a model, `retries` when to ask again, `channels` where. Of these only `uploads` reads files, and all others are pure.
`ranges` sets several clients to one work, in threads of its own.
"""

from dcgan.client.aio import AsyncClient
from dcgan.client.channels import DEFAULT_TARGET, DEFAULT_TIMEOUT_S
from dcgan.client.results import Arithmetic, Encoded, Identity, Model, Samples, Scores
from dcgan.client.sync import Client

__all__ = [
    "Arithmetic",
    "AsyncClient",
    "Client",
    "Encoded",
    "Identity",
    "Model",
    "Samples",
    "Scores",
    "connect",
    "connect_async",
]


def connect(target: str = DEFAULT_TARGET, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Client:
    """Makes a client; it connects at its first call. Use it in a `with` statement. Arguments as `Client`."""
    return Client(target, timeout_s=timeout_s)


def connect_async(target: str = DEFAULT_TARGET, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> AsyncClient:
    """Makes an asyncio client; it connects at its first call. Use it in an `async with` statement."""
    return AsyncClient(target, timeout_s=timeout_s)
