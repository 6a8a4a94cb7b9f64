"""Shares of a batch in several processes add up to the whole."""

from functools import partial

import pytest
import torch
from torch import Tensor

from sdenv.core.errors import BadConfig, FailedError
from sdenv.training.checkpoint import MovingAverage
from sdenv.training.parallel import Workers, check_shares


def _loss_of(layer: torch.nn.Linear, step: int, share: int, shares: int) -> tuple[Tensor, dict[str, Tensor]]:
    rows = torch.randn(8, 5, generator=torch.Generator().manual_seed(step))
    loss = layer(rows[share * 8 // shares : (share + 1) * 8 // shares]).square().mean()
    return loss, {"loss": loss}


def _fails_elsewhere(step: int, share: int, shares: int) -> tuple[Tensor, dict[str, Tensor]]:
    if share > 0:
        raise ValueError("no luck")
    return torch.ones(1, requires_grad=True).sum(), {}


@pytest.mark.parametrize("count", [1, 2])
def test_gradients_are_those_of_the_mean_over_the_whole_batch_with_the_newest_weights(count: int) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(5, 1)
    unused = torch.nn.Parameter(torch.ones(2))
    parameters = [*layer.parameters(), unused]
    with Workers(partial(_loss_of, layer), parameters, count) as workers:
        for step in range(2):
            whole, _ = _loss_of(layer, step, 0, 1)
            expected = torch.autograd.grad(whole, list(layer.parameters()))
            means = workers.backward(step)
            for parameter, gradient in zip(layer.parameters(), expected, strict=True):
                assert parameter.grad is not None
                assert torch.allclose(parameter.grad, gradient, atol=1e-6)
            assert float(means["loss"]) == pytest.approx(whole.item(), rel=1e-5)
            assert unused.grad is not None
            assert unused.grad.abs().max() == 0
            with torch.no_grad():
                layer.weight += 1.0


def test_a_failure_in_another_process_is_told() -> None:
    weights = [torch.nn.Parameter(torch.ones(1))]
    with Workers(_fails_elsewhere, weights, 2) as workers, pytest.raises(FailedError, match="no luck"):
        workers.backward(0)


def test_a_batch_that_cannot_be_shared_equally_is_refused_with_the_nearest_that_can() -> None:
    check_shares(8, 2)
    with pytest.raises(BadConfig, match="batch_size=6"):
        check_shares(7, 2)


def test_torch_gets_its_threads_back() -> None:
    before = torch.get_num_threads()
    with Workers(_fails_elsewhere, [], 1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_the_moving_average_follows_its_closed_form_and_lets_go() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, 0.0)
    average = MovingAverage([layer], decay=0.5)
    torch.nn.init.constant_(layer.weight, 1.0)
    expected = 0.0
    for update in range(1, 6):
        average.update()
        decay = min(0.5, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay)
    assert average.average[0].item() == pytest.approx(expected)
    before = average.copy_to_modules()
    assert layer.weight.item() == pytest.approx(expected)
    average.restore(before)
    assert layer.weight.item() == 1.0
