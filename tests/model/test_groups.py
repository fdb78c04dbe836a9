"""Parameter groups: a partition for every switch, multipliers that reach the optimiser, no decay where it harms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from model_kit import MAMBA, SHAPE, SWITCHES, some_ids, tiny
from torch import nn

from overwinter.errors import UsageError
from overwinter.model import Config, LowrankConfig, NobleConfig, ParameterGroup, fresh, parameter_groups, torch_groups
from overwinter.model.groups import KINDS, MATRIX, VECTOR, kind_of
from overwinter.model.mamba2 import Mamba2
from overwinter.model.noble import NobleLinear


def by_name(module: nn.Module) -> dict[str, ParameterGroup]:
    return {name: group for group in parameter_groups(module) for name in group.parameters}


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES.keys())
def test_groups_are_a_partition(switches: dict[str, Any]) -> None:
    decoder = tiny(**switches)
    listed = [name for group in parameter_groups(decoder) for name in group.parameters]
    assert sorted(listed) == sorted(name for name, _ in decoder.named_parameters())
    keys = [(group.kind, group.lr_mult) for group in parameter_groups(decoder)]
    assert len(set(keys)) == len(keys)
    for group in parameter_groups(decoder):
        vectors = [name for name in group.parameters if decoder.get_parameter(name).dim() < 2]
        assert not vectors or (not group.weight_decay and group.optimiser == "adam"), vectors


def test_the_groups_of_a_plain_decoder() -> None:
    found = {group.name: group for group in parameter_groups(tiny(qk_norm=True, qkv_bias=True))}
    assert list(found) == ["embed", "vector", "matrix", "head"]
    assert (found["matrix"].optimiser, found["matrix"].weight_decay) == ("muon", True)
    assert not any(found[name].weight_decay or found[name].optimiser == "muon" for name in ("embed", "vector", "head"))
    assert {"blocks.0.mixer.q_norm.weight", "blocks.2.mixer.v.bias", "norm.weight"} <= set(found["vector"].parameters)
    assert "blocks.0.mlp.gate.weight" in found["matrix"].parameters, "the MLP's gate is no exit gate"


@pytest.mark.parametrize(
    ("name", "axes", "kind"),
    [
        ("blocks.3.mixer.q.branch.down.weight", 2, "noble_matrix"),
        ("blocks.3.mixer.in_proj.branch.up.weight", 2, "noble_matrix"),
        ("blocks.3.mlp.down.branch.mid.weight", 2, "noble_matrix"),
        ("blocks.3.mlp.down.branch.mid.bias", 1, "vector"),
        ("blocks.3.mlp.down.branch.wave2.phi", 1, "noble_vector"),
        ("blocks.3.mlp.down.main.weight", 2, "matrix"),
        ("embed.basis", 2, "embed"),
        ("head.weight", 2, "head"),
        ("blocks.0.mixer.D", 1, "ssm_vector"),
        ("blocks.0.mixer.conv1d.bias", 1, "ssm_vector"),
        ("blocks.0.mixer.conv1d.weight", 3, "conv"),
        ("blocks.0.mixer.in_proj.weight", 2, "matrix"),
        ("stack.mixes.0.depth_query", 1, "depth_query"),
        ("stack.mixes.0.depth_key_norm", 1, "depth_query"),
        ("exit_gate.weight", 2, "gate"),
        ("blocks.0.mlp.gate.weight", 2, "matrix"),
        ("something.new", 3, "matrix"),
        ("something.newer", 1, "vector"),
    ],
)
def test_kinds_follow_from_names(name: str, axes: int, kind: str) -> None:
    assert kind_of(name, axes).name == kind


def test_vectors_that_decay_harms_have_none() -> None:
    block = Mamba2(32, MAMBA, NobleConfig(rank=3, targets=("ssm_in",)))
    groups = by_name(block)
    for name in (*Mamba2.NO_DECAY, "conv1d.weight", "conv1d.bias", "norm.weight", "in_proj.branch.wave1.omega"):
        assert not groups[name].weight_decay, name
    assert groups["in_proj.main.weight"].weight_decay
    assert groups["in_proj.branch.up.weight"].lr_mult > 1
    assert not any(kind.weight_decay for kind in (*KINDS, VECTOR) if kind.name != "noble_matrix")
    assert MATRIX.weight_decay
    assert not by_name(tiny(lowrank_orthogonal=LowrankConfig(rank=4)))["embed.basis"].weight_decay


def test_muon_gets_no_branch() -> None:
    """Muon with multipliers makes branches explode; Adam takes everything of theirs."""
    groups = by_name(tiny(noble=NobleConfig(rank=4)))
    branches = {name: group.optimiser for name, group in groups.items() if ".branch." in name}
    assert branches
    assert set(branches.values()) == {"adam"}
    assert groups["blocks.0.mixer.q.main.weight"].optimiser == "muon"


def test_multipliers_reach_the_parameters_of_an_optimiser() -> None:
    """By parameter, not by module: what each tensor learns with is what its layer asked for, and all kinds occur."""
    decoder = fresh(Config(**SHAPE, noble=NobleConfig(rank=4)))
    wanted = {
        f"{name}.{inner}": value
        for name, part in decoder.named_modules()
        if isinstance(part, NobleLinear)
        for inner, value in part.lr_multipliers().items()
    }
    optimiser = torch.optim.AdamW(torch_groups(decoder, parameter_groups(decoder), lr=1e-3, weight_decay=0.1))
    rates = {id(parameter): group["lr"] for group in optimiser.param_groups for parameter in group["params"]}
    for name, parameter in decoder.named_parameters():
        assert rates[id(parameter)] == pytest.approx(1e-3 * wanted.get(name, 1.0)), name
    narrow, wide = (16 / 4) ** 0.4, (32 / 4) ** 0.4  # k and v have 16 outputs, all others at least 32 on both sides
    multipliers = {round(group.lr_mult, 6) for group in parameter_groups(decoder)}
    assert multipliers == {round(value, 6) for value in (1, 2, 4, narrow, wide, (16 / 4) ** 0.5, (32 / 4) ** 0.5)}


def test_a_step_moves_each_parameter_by_its_rate() -> None:
    """Adam's first step is the rate in size, whatever the gradient: so the rates can be read off the weights."""
    decoder, ids_BL = fresh(Config(**SHAPE, noble=NobleConfig(rank=4)), seed=1), some_ids(2, 12)
    groups = parameter_groups(decoder)
    optimiser = torch.optim.AdamW(torch_groups(decoder, groups, lr=1e-3, weight_decay=0.0), eps=1e-20)
    before = {name: parameter.detach().clone() for name, parameter in decoder.named_parameters()}
    nn.functional.cross_entropy(decoder(ids_BL[:, :-1]).flatten(0, 1), ids_BL[:, 1:].flatten()).backward()
    optimiser.step()
    for group in groups:
        for name in group.parameters:
            moved = float((decoder.get_parameter(name).detach() - before[name]).abs().max())
            assert moved == pytest.approx(1e-3 * group.lr_mult, rel=1e-2), name


def test_weight_decay_goes_where_it_is_marked() -> None:
    decoder = tiny(noble=NobleConfig(rank=4))
    groups = parameter_groups(decoder)
    for made, group in zip(torch_groups(decoder, groups, lr=1.0, weight_decay=0.1), groups, strict=True):
        assert made["weight_decay"] == (0.1 if group.weight_decay else 0.0)
        assert made["name"] == group.name


def test_groups_of_another_module_are_refused() -> None:
    with pytest.raises(UsageError, match="not there"):
        torch_groups(tiny(tied=True), parameter_groups(tiny()), lr=1.0, weight_decay=0.0)


def test_shared_parameters_count_once() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[1].weight = module[0].weight
    listed = [name for group in parameter_groups(module) for name in group.parameters]
    assert sorted(listed) == ["0.bias", "0.weight", "1.bias"]
