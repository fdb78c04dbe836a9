"""NOBLE: the formula, its start, its precision, and that off is exactly the plain layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_kit import MAMBA, SHAPE, relative_error, some_ids, stir, tiny
from torch import Tensor, nn

from overwinter.errors import UsageError
from overwinter.model import Config, NobleConfig, default_rank, export, fresh, load, noble_cost, save
from overwinter.model.mamba2 import Mamba2
from overwinter.model.noble import TARGETS, Activation, NobleLinear, Wave, linear

ACTIVATIONS = get_args(Activation)
each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


def layer(
    d_in: int = 12, d_out: int = 10, *, rank: int = 4, bias: bool = True, seed: int = 0, **options: Any
) -> NobleLinear:
    torch.manual_seed(seed)
    made = linear(NobleConfig(rank=rank, **options), "q", d_in, d_out, bias=bias)
    assert isinstance(made, NobleLinear)
    return made


def rows(count: int, width: int = 12) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(7))


def by_hand(module: nn.Module, activation: str, x_NI: Tensor) -> Iterator[list[float]]:
    """The formula number by number, in double precision."""
    w = {name: value.double().tolist() for name, value in module.state_dict().items()}

    def product(matrix: list[list[float]], x: list[float], bias: list[float] | None) -> list[float]:
        sums = [sum(a * b for a, b in zip(row, x, strict=True)) for row in matrix]
        return sums if bias is None else [a + b for a, b in zip(sums, bias, strict=True)]

    def wave(number: int, x: list[float]) -> list[float]:
        omega, phi = w[f"branch.wave{number}.omega"], w[f"branch.wave{number}.phi"]
        return [math.cos(o * each + p) for o, each, p in zip(omega, x, phi, strict=True)]

    bends = {
        "gelu": lambda u: 0.5 * u * (1 + math.erf(u / math.sqrt(2))),
        "silu": lambda u: u / (1 + math.exp(-u)),
        "tanh": math.tanh,
    }
    for x in x_NI.double().tolist():
        u = product(w["branch.down.weight"], x, w["branch.down.bias"])
        if activation == "cosnet":
            c = wave(2, product(w["branch.mid.weight"], wave(1, u), w["branch.mid.bias"]))
        else:
            c = wave(1, u) if activation == "cos" else [bends[activation](each) for each in u]
        main = product(w["main.weight"], x, w.get("main.bias"))
        yield [a + b for a, b in zip(main, product(w["branch.up.weight"], c, None), strict=True)]


@each_activation
@pytest.mark.parametrize("bias", [True, False])
def test_the_formula(activation: Activation, bias: bool) -> None:
    module = layer(activation=activation, bias=bias)
    stir(module)
    x_NI = rows(6)
    expected_NO = torch.tensor(list(by_hand(module, activation, x_NI)))
    with torch.no_grad():
        assert relative_error(module(x_NI), expected_NO) <= 1e-6
        assert relative_error(module(x_NI.view(2, 3, 12)).flatten(0, 1), expected_NO) <= 1e-6


@each_activation
def test_without_w_up_it_is_the_plain_layer(activation: Activation) -> None:
    module, x_NI = layer(activation=activation), rows(6)
    nn.init.zeros_(module.branch.up.weight)
    assert torch.equal(module(x_NI), module.main(x_NI))


@pytest.mark.parametrize("noble", [None, NobleConfig(rank=0), NobleConfig(rank=4, targets=("k", "v"))])
def test_off_is_nn_linear_bit_for_bit(noble: NobleConfig | None) -> None:
    torch.manual_seed(3)
    ours = linear(noble, "q", 12, 10, bias=True)
    torch.manual_seed(3)
    plain = nn.Linear(12, 10, bias=True)
    assert type(ours) is nn.Linear
    assert ours.state_dict().keys() == plain.state_dict().keys()
    assert all(torch.equal(ours.state_dict()[name], plain.state_dict()[name]) for name in plain.state_dict())


def test_rank_0_is_the_plain_decoder() -> None:
    ids_BL = some_ids(2, 9)
    plain, off = fresh(Config(**SHAPE), seed=5), fresh(Config(**SHAPE, noble=NobleConfig(rank=0)), seed=5)
    assert torch.equal(plain(ids_BL), off(ids_BL))


@each_activation
def test_every_tensor_learns_from_the_first_step(activation: Activation) -> None:
    config = Config(**SHAPE, noble=NobleConfig(rank=4, activation=activation))
    decoder, ids_BL = fresh(config, seed=1), some_ids(2, 12)
    logits_BLV = decoder(ids_BL[:, :-1])
    nn.functional.cross_entropy(logits_BLV.flatten(0, 1), ids_BL[:, 1:].flatten()).backward()
    assert not [name for name, each in decoder.named_parameters() if each.grad is None or not each.grad.abs().sum() > 0]


def test_the_start() -> None:
    """The published spreads, on a layer large enough to see them."""
    module = layer(400, 300, rank=64)
    spreads = {
        "main.weight": 0.5 / math.sqrt(400),
        "branch.down.weight": 1 / math.sqrt(400),
        "branch.mid.weight": 0.5 / math.sqrt(64),
        "branch.up.weight": 0.01 / math.sqrt(64),
        "branch.mid.bias": 1 / math.sqrt(64) / math.sqrt(3),
        "main.bias": 0.0,
        "branch.down.bias": 0.0,
    }
    for name, spread in spreads.items():
        values = module.get_parameter(name).detach()
        assert float(values.std(correction=0)) == pytest.approx(spread, rel=4 / math.sqrt(2 * values.numel()), abs=1e-9)
    for number in (1, 2):
        omega_R, phi_R = (module.get_parameter(f"branch.wave{number}.{name}").detach() for name in ("omega", "phi"))
        assert float(omega_R.min()) >= 0.8
        assert float(omega_R.max()) <= 1.2
        assert float(omega_R.std()) == pytest.approx(0.4 / math.sqrt(12), rel=0.3)
        assert 0 <= float(phi_R.min()) <= float(phi_R.max()) < 2 * math.pi
        assert float(phi_R.sin().std()) == pytest.approx(0.1, rel=0.4)
    bent_NO = module(rows(50, 400)) - module.main(rows(50, 400))
    assert 1e-3 < float(bent_NO.detach().abs().mean()) < 0.02


def test_the_start_follows_its_options() -> None:
    module = layer(400, 300, rank=64, up_std=0.5, main_scale=0.25)
    assert float(module.branch.up.weight.detach().std()) == pytest.approx(0.5 / 8, rel=0.05)
    assert float(module.main.weight.detach().std()) == pytest.approx(0.25 / 20, rel=0.05)


@pytest.mark.parametrize(
    ("width", "rank", "mid", "up"), [(768, 64, 3.46, 2.70), (2048, 64, 5.66, 4.0), (128, 16, 2.83, 2.30)]
)
def test_multipliers_of_the_learning_rate(width: int, rank: int, mid: float, up: float) -> None:
    noble = NobleConfig(rank=rank)

    def multipliers(**changes: Any) -> dict[str, float]:
        with torch.device("meta"):
            return NobleLinear(replace(noble, **changes), width, 4 * width).lr_multipliers()

    waves = {f"branch.wave{number}.{name}": rate for number in (1, 2) for name, rate in (("omega", 2.0), ("phi", 4.0))}
    one_sided = multipliers()
    assert one_sided == pytest.approx({"branch.mid.weight": mid, "branch.up.weight": up, **waves}, abs=0.005)
    assert multipliers(mid_lr_mult=False).keys() == one_sided.keys() - {"branch.mid.weight"}
    two_sided = multipliers(lr_mode="two_sided")
    assert two_sided["branch.down.weight"] == two_sided["branch.up.weight"] == pytest.approx(math.sqrt(up), abs=0.005)
    assert multipliers(lr_mode="off") == {}
    assert multipliers(activation="silu") == pytest.approx({"branch.up.weight": up}, abs=0.005)


@given(
    d_in=st.integers(1, 40), d_out=st.integers(1, 40), rank=st.integers(0, 9), activation=st.sampled_from(ACTIVATIONS)
)
@settings(max_examples=60, deadline=None)
def test_the_cost_formula_counts(d_in: int, d_out: int, rank: int, activation: Activation) -> None:
    with torch.device("meta"):
        module = linear(NobleConfig(rank=rank, activation=activation), "up", d_in, d_out, bias=False)
    cost = noble_cost(d_in, d_out, rank, activation)
    assert sum(each.numel() for each in module.parameters()) == d_in * d_out + cost.parameters
    matrices = sum(each.numel() for name, each in module.named_parameters() if each.dim() == 2 and "branch" in name)
    assert cost.flops == 2 * matrices
    if activation == "cosnet":
        assert cost.parameters == rank * (d_in + d_out) + rank**2 + 6 * rank


@pytest.mark.parametrize(
    ("width", "rank"), [(32, 8), (128, 8), (384, 16), (640, 24), (768, 24), (2048, 64), (4096, 128)]
)
def test_the_usual_rank(width: int, rank: int) -> None:
    assert default_rank(width) == rank


@pytest.mark.parametrize("width", [768, 2048, 4096])
def test_the_usual_rank_costs_about_five_percent(width: int) -> None:
    rank, sides = default_rank(width), [(width, width)] * 4 + [(width, 4 * width)] * 2
    extra = sum(noble_cost(d_in, d_out, rank).parameters for d_in, d_out in sides)
    assert extra / sum(d_in * d_out for d_in, d_out in sides) == pytest.approx(0.047, abs=0.002)


def test_cosines_keep_their_phase_in_bfloat16() -> None:
    """At 8 and more a bfloat16 is uncertain by 0.03; the argument is formed in float32 whether by dtype or by autocast."""
    wave = Wave(64).to(torch.bfloat16)
    wave.draw(torch.Generator().manual_seed(0))
    wave.requires_grad_(False)
    u_NR = (8 + 4 * rows(50, 64)).to(torch.bfloat16)
    exact_NR = torch.cos(u_NR.double() * wave.omega.double() + wave.phi.double())
    assert float((wave(u_NR) - exact_NR).abs().max()) < 1e-5
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found_NR = wave(u_NR)
    assert found_NR.dtype == torch.float32
    assert float((found_NR - exact_NR).abs().max()) < 1e-5
    # Formed in bfloat16, the same cosines are far off: the bound above can fail.
    coarse_NR = torch.cos(u_NR * wave.omega.to(torch.bfloat16) + wave.phi.to(torch.bfloat16))
    assert float((coarse_NR - exact_NR).abs().max()) > 1e-2


@pytest.mark.parametrize("narrow", [torch.bfloat16, torch.float16])
def test_omega_and_phi_stay_float32(narrow: torch.dtype, tmp_path: Path) -> None:
    decoder = fresh(Config(**SHAPE, noble=NobleConfig(rank=4)))
    save(decoder, tmp_path / "wide")
    moved, loaded = fresh(decoder.config).to(narrow), load(tmp_path / "wide", dtype=narrow)
    for name, value in decoder.named_parameters():
        kept = "wave" in name
        for changed in (moved.get_parameter(name), loaded.get_parameter(name)):
            assert changed.dtype == (torch.float32 if kept else narrow)
            assert not kept or torch.equal(changed, value), "nothing was rounded on the way"
    assert moved(some_ids(1, 5)).dtype == narrow
    save(moved, tmp_path / "narrow")
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "narrow")(some_ids(1, 5)), moved(some_ids(1, 5)))
    assert moved.double().blocks[0].mixer.q.branch.wave1.omega.dtype == torch.float64


def test_training_under_autocast() -> None:
    module = layer(bias=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y_NO = module(rows(6))
    assert y_NO.dtype == torch.bfloat16
    y_NO.float().square().sum().backward()
    assert all(each.grad is not None and each.grad.dtype == torch.float32 for each in module.parameters())


@each_activation
def test_recomputing_saves_memory_and_changes_nothing(activation: Activation) -> None:
    results = []
    for recompute in (False, True):
        module = layer(activation=activation, recompute=recompute)
        owned = {each.data_ptr() for each in module.parameters()}
        saved: dict[int, int] = {}

        def note(tensor: Tensor, owned: set[int] = owned, saved: dict[int, int] = saved) -> Tensor:
            if tensor.data_ptr() not in owned:
                saved[tensor.data_ptr()] = tensor.nbytes
            return tensor

        x_NI = rows(20)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            y_NO = module(x_NI)
        y_NO.square().sum().backward()
        results.append((y_NO, [each.grad for each in module.parameters()], sum(saved.values())))
    (plain_NO, plain, much), (again_NO, again, little) = results
    assert torch.equal(plain_NO, again_NO)
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))
    # u is all that the branch keeps, and the layer itself keeps x. tanh alone asks for no more without it: its result.
    assert little == 20 * 4 * (12 + 4)
    assert little < much or activation == "tanh"


def test_a_decoder_has_branches_at_its_targets() -> None:
    decoder = tiny(noble=NobleConfig(rank=2, targets=("k", "down")))
    bent = {name.rpartition(".")[2] for name, part in decoder.named_modules() if isinstance(part, NobleLinear)}
    assert bent == {"k", "down"}
    default = tiny(noble=NobleConfig(rank=2))
    bent = {name.rpartition(".")[2] for name, part in default.named_modules() if isinstance(part, NobleLinear)}
    assert bent == set("qkvo") | {"gate", "up", "down"}
    assert set(TARGETS) == bent | {"ssm_in", "ssm_out"}


def test_mamba_takes_branches_and_keeps_its_names() -> None:
    plain = Mamba2(32, MAMBA)
    off = Mamba2(32, MAMBA, NobleConfig(rank=3))
    assert off.state_dict().keys() == plain.state_dict().keys(), "ssm_in and ssm_out are asked for by name"
    bent = Mamba2(32, MAMBA, NobleConfig(rank=3, targets=("ssm_in", "ssm_out")))
    assert {name.split(".")[0] for name in bent.state_dict().keys() ^ plain.state_dict().keys()} == {
        "in_proj",
        "out_proj",
    }
    stir(bent)
    x_BLD = torch.randn(2, 19, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole_BLD = bent(x_BLD)
        for part in (bent.in_proj, bent.out_proj):
            nn.init.zeros_(part.branch.up.weight)
            assert relative_error(bent(x_BLD), whole_BLD) > 1e-3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rank": -1}, "rank cannot be -1"),
        ({"rank": 2.0}, "rank cannot be 2.0"),
        ({"rank": True}, "rank cannot be True"),
        ({"targets": ()}, "targets cannot be"),
        ({"targets": ["head"]}, "head"),
        ({"targets": "q"}, "targets cannot be 'q'"),
        ({"activation": "relu"}, "activation cannot be 'relu'"),
        ({"up_std": 0.0}, "up_std cannot be 0.0"),
        ({"up_std": math.nan}, "up_std cannot be nan"),
        ({"main_scale": 0}, "main_scale cannot be 0"),
        ({"lr_mode": "both"}, "lr_mode cannot be 'both'"),
        ({"mid_lr_mult": 1}, "mid_lr_mult cannot be 1"),
        ({"recompute": None}, "recompute cannot be None"),
        ({"alpha": 1.0}, "no 'alpha'"),
    ],
)
def test_options_that_cannot_be_are_refused(change: dict[str, Any], words: str) -> None:
    values = Config(**SHAPE, noble=NobleConfig(rank=4)).to_dict()
    values["noble"] |= change
    with pytest.raises(UsageError, match=words):
        Config.from_dict(values)


def test_no_published_family_has_branches(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no published family"):
        export(tiny(noble=NobleConfig(rank=2)), tmp_path / "out")
    assert export(tiny(noble=NobleConfig(rank=0)), tmp_path / "out") == "llama"
