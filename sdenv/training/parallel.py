"""Gradients of a batch by several threads, each of which computes a share of it with one core.

Why not torch's own threads: inside one convolution they wait for each other, so that small layers leave cores
idle and any other busy program stalls all of them. On two cores this trained the UNet 2.2 times and the
autoencoder 1.3 times as fast (docs/lab-log.md). Each thread differentiates with respect to the shared parameters
by itself, and the sums are formed in a fixed order, so that a run can be repeated bit for bit.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import TracebackType
from typing import Self, final

import torch
from torch import Tensor, nn

Share = slice
LossOf = Callable[[Share], tuple[Tensor, Mapping[str, Tensor]]]
"""From the rows of a share to its mean loss and to further means worth reporting."""


@final
class Workers:
    """Threads that share the work of a step; use as a context manager.

    Args:
        count: Number of threads; a batch must have at least as many rows.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._before = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="sdenv-train")

    def __enter__(self) -> Self:
        """Takes torch's own threads away."""
        torch.set_num_threads(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Gives them back."""
        self._pool.shutdown()
        torch.set_num_threads(self._before)

    def backward(
        self, loss_of: LossOf, rows: int, parameters: Sequence[nn.Parameter]
    ) -> dict[str, float | Tensor]:
        """Sets `grad` of the parameters to the gradient of the mean loss over all rows.

        Args:
            loss_of: Called once per share, in a thread.
            rows: Size of the batch.
            parameters: What to differentiate with respect to.

        Returns:
            The means that `loss_of` reported, over all rows, not yet synchronised into plain numbers.
        """
        bounds = [rows * number // self._count for number in range(self._count + 1)]
        shares = [slice(low, high) for low, high in pairwise(bounds) if high > low]

        def work(share: Share) -> tuple[tuple[Tensor, ...], Mapping[str, Tensor]]:
            torch.set_num_threads(1)  # OpenMP counts threads per calling thread
            loss, means = loss_of(share)
            weight = (share.stop - share.start) / rows
            gradients = torch.autograd.grad(loss * weight, list(parameters), allow_unused=True)
            filled = [
                torch.zeros_like(parameter) if gradient is None else gradient
                for gradient, parameter in zip(gradients, parameters, strict=True)
            ]
            return tuple(filled), {name: value.detach() * weight for name, value in means.items()}

        results = list(self._pool.map(work, shares))
        total = list(results[0][0])
        for gradients, _ in results[1:]:
            torch._foreach_add_(total, list(gradients))
        for parameter, gradient in zip(parameters, total, strict=True):
            parameter.grad = gradient
        return {name: sum(means[name] for _, means in results) for name in results[0][1]}
