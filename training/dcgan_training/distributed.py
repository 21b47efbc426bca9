"""One run on several processes, as torchrun starts them: gloo between CPUs, nccl between GPUs.

Every process holds the whole state and takes its share of each batch; gradients are averaged and batch norm sees the
whole batch, so that a step is the one that a single process would take, but for the order of sums. Only the first
process writes and speaks; the others end as it does.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final, TypeVar

import torch
import torch.distributed as torch_distributed
from torch import nn

from dcgan.errors import DeviceError, SettingsError
from dcgan_training.errors import RunError

# How long a process waits for one that is silent. That one has ended is known at once, by its closed connection, so
# these count only where a machine or its network has vanished, or a process hangs.
_STEP: Final = timedelta(minutes=10)  # within a step, or while the first process saves, draws and measures after it
_ERRAND: Final = timedelta(hours=12)  # while the first process decodes a data set, or exports and evaluates

Value = TypeVar("Value")


class World:
    """A single process: there is nobody to agree with."""

    rank = 0
    size = 1

    def share(self, count: int, packing: int = 1) -> slice:
        """Gives this process's part of `count` rows, of which `packing` are judged together.

        Raises:
            SettingsError: they can't be shared evenly.
        """
        if count % (self.size * packing):
            packs = f" times packing {packing}" if packing > 1 else ""
            raise SettingsError(
                f"batch_size {count} is no multiple of the {self.size} processes{packs}; say --set batch_size="
                f"{-(-count // (self.size * packing)) * self.size * packing}, or start another number of processes"
            )
        part = count // self.size
        return slice(self.rank * part, (self.rank + 1) * part)

    def prepare(self, network: nn.Module) -> None:
        """Lets the layers of a network that look at a whole batch see that of all processes."""

    def average_gradients(self, network: nn.Module) -> None:
        """Replaces the gradients by their mean over all processes."""

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Gives the mean over all processes."""
        return values

    def any(self, flag: bool) -> bool:
        """Says whether any process says so; every process must ask at the same step."""
        return flag

    def everyones(self, value: Value) -> list[Value]:
        """Gives what each process says, in the order of their ranks; every process must ask at the same step."""
        return [value]

    def wait(self) -> None:
        """Returns when every process has come here."""

    def first(self, work: Callable[[], Value]) -> Value:
        """Lets the first process work while the others wait; gives all of them what came of it.

        Where it raises, the first process has something to say, and the others end quietly with exit code 1.
        """
        return work()


class _Several(World):
    def __init__(self) -> None:
        self.rank, self.size = torch_distributed.get_rank(), torch_distributed.get_world_size()
        # Flags are asked for on the CPU, so that a GPU isn't waited for at every step.
        self._flags = torch_distributed.new_group(backend="gloo", timeout=_STEP)
        self._errands = torch_distributed.new_group(backend="gloo", timeout=_ERRAND)

    def prepare(self, network: nn.Module) -> None:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.__class__ = _BatchNorm
            elif hasattr(module, "everyone"):
                module.everyone = _gathered  # type: ignore[assignment]  # of minibatch discrimination

    def average_gradients(self, network: nn.Module) -> None:
        gradients = [value.grad for value in network.parameters() if value.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        torch_distributed.all_reduce(flat)
        flat /= self.size
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        total = values.clone()
        torch_distributed.all_reduce(total)
        return total / self.size

    def any(self, flag: bool) -> bool:
        told = torch.tensor([int(flag)])
        torch_distributed.all_reduce(told, torch_distributed.ReduceOp.MAX, group=self._flags)
        return bool(told.item())

    def everyones(self, value: Value) -> list[Value]:
        told: list[Any] = [None] * self.size
        torch_distributed.all_gather_object(told, value, group=self._flags)
        return told

    def wait(self) -> None:
        torch_distributed.barrier(group=self._errands)

    def first(self, work: Callable[[], Value]) -> Value:
        told: list[Any] = [False, None]
        try:
            if self.rank == 0:
                told = [True, work()]
        finally:
            torch_distributed.broadcast_object_list(told, src=0, group=self._errands)
        done, result = told
        if not done:
            raise SystemExit(1)
        found: Value = result
        return found


def processes() -> int:
    """Gives how many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def started_by_torchrun() -> bool:
    """Says whether this process is one of several that torchrun started."""
    return processes() > 1


def local_rank() -> int:
    """Gives the number of this process on its machine, which is the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Joins the processes that torchrun started; without torchrun there is one.

    Args:
        device: "cpu" or "cuda".

    Raises:
        DeviceError: there are more processes on this machine than GPUs.
        RunError: another one has ended before its time, or doesn't answer, or nccl can't join their GPUs.
    """
    if not started_by_torchrun():
        yield World()
        return
    if device == "cuda":
        if local_rank() >= torch.cuda.device_count():
            raise DeviceError(
                f"process {local_rank() + 1} of this machine has no GPU, for it has {torch.cuda.device_count()}; start "
                "as many processes as GPUs, or say --device cpu"
            )
        torch.cuda.set_device(local_rank())
    torch_distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=_STEP)
    try:
        torch_distributed.all_reduce(torch.zeros(1, device=device))  # nccl joins only now, and may have to say why not
        yield _Several()
    except RuntimeError as error:
        if device == "cuda" and isinstance(error, torch_distributed.DistBackendError):
            raise RunError(f"nccl can't use the GPUs together: {' '.join(str(error).split())}") from error
        if not isinstance(error, torch_distributed.DistError) and "/gloo/" not in str(error):
            raise
        raise RunError(
            "another process of this run has ended or doesn't answer; what it said last tells why, and the same "
            "command for all of them continues from the newest checkpoint"
        ) from error
    torch_distributed.destroy_process_group()  # waits for the others, so only where nothing was raised


class _Sum(torch.autograd.Function):
    """The sum over all processes; each one's gradient is the sum of all gradients."""

    @staticmethod
    def forward(_: Any, values: torch.Tensor) -> torch.Tensor:
        total = values.clone()
        torch_distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: torch.Tensor) -> torch.Tensor:
        return _Sum.forward(None, gradient.contiguous())


class _Gathered(torch.autograd.Function):
    """The rows of all processes in the order of their ranks; the gradients of a row come from all of them."""

    @staticmethod
    def forward(context: Any, rows: torch.Tensor) -> torch.Tensor:
        context.count = len(rows)
        parts = [torch.empty_like(rows) for _ in range(torch_distributed.get_world_size())]
        torch_distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        total = _Sum.forward(None, gradient.contiguous())
        first = torch_distributed.get_rank() * context.count
        return total[first : first + context.count]


def _gathered(rows: torch.Tensor) -> torch.Tensor:
    gathered: torch.Tensor = _Gathered.apply(rows)  # type: ignore[no-untyped-call]
    return gathered


class _BatchNorm(nn.BatchNorm2d):
    """Batch norm with the statistics of all processes' rows; torch's own refuses CPU tensors."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(maps)
        values = maps.to(torch.promote_types(maps.dtype, torch.float32))
        count = maps.numel() // maps.shape[1] * torch_distributed.get_world_size()
        mean = self._summed(values.sum((0, 2, 3))) / count
        centred = values - mean[:, None, None]
        variance = self._summed(centred.square().sum((0, 2, 3))) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(maps.dtype)

    @staticmethod
    def _summed(values: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
        return total

    @torch.no_grad()
    def _remember(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked += 1
        share = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)
