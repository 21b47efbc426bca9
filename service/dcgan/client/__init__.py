"""Clients of a server, blocking and asyncio: arrays in, arrays out, our errors.

`sync` and `aio` make the calls. Everything else is pure and shared: `sources` and `messages` between Python values and
the API, `results` what comes back, `streams` what to ask next, `retries` when to ask again, `channels` where.
"""

from dcgan.client.aio import AsyncClient
from dcgan.client.channels import DEFAULT_TARGET, DEFAULT_TIMEOUT_S
from dcgan.client.results import Arithmetic, Identity, Model, Samples
from dcgan.client.sync import Client

__all__ = ["Arithmetic", "AsyncClient", "Client", "Identity", "Model", "Samples", "connect", "connect_async"]


def connect(target: str = DEFAULT_TARGET, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Client:
    """Makes a client; it connects at its first call. Use it in a `with` statement. Arguments as `Client`."""
    return Client(target, timeout_s=timeout_s)


def connect_async(target: str = DEFAULT_TARGET, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> AsyncClient:
    """Makes an asyncio client; it connects at its first call. Use it in an `async with` statement."""
    return AsyncClient(target, timeout_s=timeout_s)
