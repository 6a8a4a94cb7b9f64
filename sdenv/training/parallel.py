"""Gradients of a batch by several processes, each of which computes a share of it on one core.

Why not torch's own threads: inside one convolution they wait for each other, so that small layers leave
cores idle and any other busy program stalls all of them. Why not threads of ours: they wait for Python's
lock. The numbers are in docs/lab-log.md. The processes share the weights; each writes its gradients to
memory that is shared too, and the sums are formed in a fixed order, so that a run can be repeated bit for
bit.
"""

import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, TypeAlias, final

import torch
from torch import Tensor, multiprocessing, nn

from sdenv.core.errors import BadConfig, FailedError

Pipe: TypeAlias = "Connection[Any, Any]"
LossOf = Callable[[int, int, int], tuple[Tensor, Mapping[str, Tensor]]]
"""From (step, share, shares) to the mean loss over that share of the step's batch, and further means.

It must be picklable, depend on its arguments and the weights alone, and cut the batch into equal shares.
"""


def check_shares(batch_size: int, workers: int) -> None:
    """Refuses a batch that cannot be cut into equal shares.

    Raises:
        BadConfig: `batch_size` is not a multiple of `workers`.
    """
    if workers < 1 or batch_size % workers:
        raise BadConfig(
            f"A batch of {batch_size} cannot be shared among {workers} processes.",
            why="The shares have to be equal.",
            hint=f"--set batch_size={max(1, workers) * max(1, batch_size // max(1, workers))}",
        )


@final
class Workers:
    """This process and `count - 1` others, which share the work of a step; use as a context manager.

    Args:
        loss_of: What each of them computes.
        parameters: What to differentiate with respect to; moved to shared memory.
        count: Number of processes; 1 starts none.
    """

    def __init__(self, loss_of: LossOf, parameters: Sequence[nn.Parameter], count: int) -> None:
        self._loss_of = loss_of
        self._parameters = list(parameters)
        self._count = count
        self._threads = torch.get_num_threads()
        self._helpers: list[tuple[BaseProcess, Pipe, list[Tensor]]] = []

    def __enter__(self) -> "Workers":
        """Starts the other processes and takes torch's own threads away."""
        torch.set_num_threads(1)
        if self._count > 1:
            for parameter in self._parameters:
                _shared(parameter.data)
        context = multiprocessing.get_context("spawn")
        for share in range(1, self._count):
            here, there = context.Pipe()
            gradients = [_shared(torch.zeros_like(each)) for each in self._parameters]
            arguments = (there, self._loss_of, self._parameters, gradients, share, self._count)
            process = context.Process(target=_serve, args=arguments, daemon=True)
            process.start()
            there.close()
            self._helpers.append((process, here, gradients))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends them."""
        for process, connection, _ in self._helpers:
            with suppress(OSError):
                connection.send(None)
            process.join(timeout=20)  # a step takes less; then it is stuck
            if process.is_alive():
                process.kill()
            connection.close()
        torch.set_num_threads(self._threads)

    def backward(self, step: int) -> dict[str, Tensor]:
        """Sets `grad` of the parameters to the gradient of the mean loss over the whole batch of this step.

        Returns:
            The means that `loss_of` reported, over the whole batch.

        Raises:
            FailedError: Another process failed or was killed.
        """
        for _, connection, _ in self._helpers:
            connection.send(step)
        total, means = _gradients(self._loss_of, self._parameters, step, 0, self._count)
        for _, connection, gradients in self._helpers:
            for name, value in _answer(connection).items():
                means[name] = means[name] + value
            torch._foreach_add_(total, gradients)
        for parameter, gradient in zip(self._parameters, total, strict=True):
            parameter.grad = gradient
        return means


def _shared(tensor: Tensor) -> Tensor:
    return tensor.share_memory_()  # type: ignore[no-untyped-call, no-any-return]  # torch does not say


def _answer(connection: Pipe) -> dict[str, float]:
    try:
        answer = connection.recv()
    except EOFError as error:
        raise FailedError("A training process was killed.", why="It may have run out of memory.") from error
    if isinstance(answer, str):
        raise FailedError("A training process failed.", why=answer)
    return dict(answer)


def _gradients(
    loss_of: LossOf, parameters: Sequence[nn.Parameter], step: int, share: int, count: int
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """This share's part of the gradient and of the means."""
    loss, means = loss_of(step, share, count)
    gradients = torch.autograd.grad(loss / count, list(parameters), allow_unused=True)
    filled = [
        torch.zeros_like(parameter) if gradient is None else gradient
        for gradient, parameter in zip(gradients, parameters, strict=True)
    ]
    return filled, {name: value.detach() / count for name, value in means.items()}


def _serve(
    connection: Pipe,
    loss_of: LossOf,
    parameters: Sequence[nn.Parameter],
    shared: Sequence[Tensor],
    share: int,
    count: int,
) -> None:
    """The other process: waits for a step, computes, writes gradients, answers with the means."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches every process; the first decides, after the step
    torch.set_num_threads(1)
    with suppress(EOFError):  # the first process is gone
        while (step := connection.recv()) is not None:
            try:
                gradients, means = _gradients(loss_of, parameters, step, share, count)
            except Exception as error:  # noqa: BLE001 (told to the first process, which raises it)
                connection.send(f"{type(error).__name__}: {error}")
                return
            torch._foreach_copy_(list(shared), gradients)
            connection.send({name: float(value) for name, value in means.items()})
