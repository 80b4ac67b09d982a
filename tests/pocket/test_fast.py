"""What makes training quick changes nothing but rounding."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparks.pocket.training import fast
from sparks.pocket.training.optimisers import Muon, optimisers

CPU = torch.device("cpu")


def heads(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


@pytest.mark.parametrize("mask", ["none", "bool", "float"])
def test_plain_attention_is_attention(mask: str) -> None:
    query, key, value = (heads(2, 3, length, 8).bfloat16() for length in (5, 7, 7))
    given = {
        "none": None,
        "bool": torch.ones(2, 1, 5, 7).tril(1).bool(),
        "float": heads(2, 1, 5, 7).bfloat16(),
    }[mask]
    expected = F.scaled_dot_product_attention(
        query.float(), key.float(), value.float(), given.float() if mask == "float" else given
    )
    with fast.plain_attention(CPU):
        plain = F.scaled_dot_product_attention(query=query, key=key, value=value, attn_mask=given)
        wider = F.scaled_dot_product_attention(query.float(), key.float(), value)
        alone = F.scaled_dot_product_attention(query.float(), key.float(), value.float())
    fused = F.scaled_dot_product_attention(query=query, key=key, value=value, attn_mask=given)
    assert not torch.equal(plain, fused)  # rounded elsewhere
    torch.testing.assert_close(plain.float(), expected, atol=2e-2, rtol=2e-2)
    assert wider.dtype == torch.bfloat16
    assert alone.dtype == torch.float32  # left to the fused one


def test_half_precision_only_where_it_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for able in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda able=able: able)
        with fast.autocast(CPU):
            product = heads(4, 4) @ heads(4, 4)
        assert product.dtype == (torch.bfloat16 if able else torch.float32)
        assert not fast.compiles(CPU, 10)
    assert not fast.compiles(CPU, 10_000)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(40, 32)
        self.proj_in = nn.Linear(32, 32)
        self.hidden = nn.Linear(32, 64)
        self.thin = nn.Linear(64, 2)
        self.norm = nn.LayerNorm(32)


def test_muon_takes_hidden_matrices_and_nothing_else() -> None:
    block, head = Block(), nn.Linear(64, 64)
    adam, muon = optimisers([block, head], 1e-3, 2e-3, 0.01)
    assert muon.param_groups[0]["params"] == [block.hidden.weight]
    count = sum(len(list(module.parameters())) for module in (block, head))
    assert len(adam.param_groups[0]["params"]) == count - 1
    (alone,) = optimisers([block, head], 1e-3, None, 0.01)
    assert len(alone.param_groups[0]["params"]) == count


def test_matrices_of_one_shape_are_moved_at_once_as_one_by_one() -> None:
    shapes = [(64, 32), (64, 32), (32, 96), (48, 48)]
    alone, together = (
        [nn.Parameter(0.05 * heads(*shape) * (i + 1)) for i, shape in enumerate(shapes)]
        for _ in range(2)
    )
    given = {"lr": 1e-2, "weight_decay": 0.01, "adjust_lr_fn": "match_rms_adamw"}
    start = [parameter.detach().clone() for parameter in alone]
    expected, found = torch.optim.Muon(alone, **given), Muon(together, **given)
    rng = torch.Generator().manual_seed(0)
    for _ in range(3):
        for one, other in zip(alone, together, strict=True):
            one.grad = torch.randn(one.shape, generator=rng)
            other.grad = one.grad.clone()
        expected.step()
        found.step_alike()
    for one, other, before in zip(alone, together, start, strict=True):
        assert not torch.equal(one, before)
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_a_module_is_itself_where_there_are_no_graphs() -> None:
    module = nn.Linear(3, 2)
    assert fast.replayed(module, (torch.zeros(1, 3),)) is module
