"""Several processes train as one does."""

import socket
from pathlib import Path

import torch
import torch.multiprocessing
from torch import Tensor, nn

from sparks.pocket.training import parallel
from sparks.pocket.training.loop import Course, fit, generator

CPU = torch.device("cpu")
STEPS = 30


class Two(nn.Module):
    """One of its halves is used in even numbers only."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.always, self.sometimes = nn.Linear(4, 1), nn.Linear(4, 1)

    def loss(self, number: int) -> Tensor:
        inputs = torch.randn(16, 4, generator=generator(number, CPU))
        output = self.always(inputs)
        if number % 2 == 0:
            output = output + self.sometimes(inputs)
        return (output - inputs.sum(1, keepdim=True)).square().mean()


def train(folder: Path) -> dict[str, Tensor]:
    module = Two()
    fit("two", [module], module.loss, Course(folder, STEPS))
    return module.state_dict()


def member(rank: int, port: int, folder: Path) -> None:
    import os

    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}
    os.environ["MASTER_PORT"] = str(port)
    torch.set_num_threads(1)
    assert parallel.join(CPU) == CPU
    assert (parallel.rank(), parallel.size(), parallel.share(48)) == (rank, 2, 24)
    assert parallel.agreed(float(rank), CPU) == 0
    torch.save(train(folder), folder / f"{rank}.pt")
    parallel.wait()


def test_two_processes_take_the_mean_of_their_gradients(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(member, (port, tmp_path), nprocs=2)
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    alone = Two()
    both = lambda step: (alone.loss(2 * step) + alone.loss(2 * step + 1)) / 2  # noqa: E731
    fit("alone", [alone], both, Course(tmp_path, STEPS))
    for name, value in alone.state_dict().items():
        assert torch.equal(one[name], other[name])
        torch.testing.assert_close(one[name], value, atol=1e-5, rtol=1e-4)


def test_alone_nothing_changes(tmp_path: Path) -> None:
    assert parallel.join(CPU) == CPU
    assert (parallel.rank(), parallel.size(), parallel.share(48)) == (0, 1, 48)
    assert parallel.agreed(0.5, CPU) == 0.5
    module = Two()
    module.loss(0).backward()
    before = module.always.weight.grad.clone()
    parallel.average_gradients(list(module.parameters()))
    assert torch.equal(module.always.weight.grad, before)
