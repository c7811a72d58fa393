"""The linear layers of every type against those of its real module: names and shapes."""

from __future__ import annotations

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from rmtscale.profiler.real_module import real_module
from rmtscale.specs.huggingface import resolve_model
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.quantization.linears import HEAD, NoNames, linears
from rmtscale.specs.reading import read
from rmtscale.specs.rows.catalog import ROWS
from rmtscale.specs.uniform import uniform_groups
from tests.specs.quantization.module_bytes import linear_layers
from tests.specs.test_rows import class_name
from tests.specs.tiny_configs import TINY

UNNAMED = frozenset(
    """
    albert bart bert camembert distilbert electra falcon modernbert mpnet mt5 roberta t5 whisper
    xlm-roberta
    """.split()
)
"""Types whose modules have no names in their rows: nothing is quantised that would be counted."""
_KEPT = ("weights_proj",)
"""Linear layers that no method quantises."""


def shape_of(model: ModelSpec) -> dict[str, tuple[int, int]]:
    """Our linear layers under the first name of each, experts one by one."""
    made = {}
    for number, linear in linears(model):
        for expert in range(linear.copies):
            made[linear.named(number, expert)[0]] = linear.inner, linear.outer
    return made


@pytest.mark.parametrize("kind", sorted(set(ROWS) - UNNAMED))
def test_names_and_shapes_are_those_of_the_real_module(kind: str) -> None:
    name = class_name(kind)
    spec = read(TINY[kind], "tiny", name).spec
    module = real_module(TINY[kind], name, "tiny")
    tied = getattr(spec, "tied_head", False)
    real = {}
    for place, inner, outer in linear_layers(module):
        if place.endswith(_KEPT) or (outer == spec.vocabulary and tied):
            continue
        real[place] = inner, outer
    whole = all(not key.startswith("layers.") for key in real)
    mine = {
        key if whole else key.removeprefix("model."): value for key, value in shape_of(spec).items()
    }
    if any(".experts.gate_up_proj" in key for key in mine):  # gpt-oss: all experts in one tensor
        real = {key: value for key, value in real.items() if ".experts." not in key}
        mine = {key: value for key, value in mine.items() if ".experts." not in key}
    if kind == "granitemoe":  # its files have all experts in one tensor, too
        real = {key: value for key, value in real.items() if "block_sparse_moe" not in key}
        mine = {key: value for key, value in mine.items() if "block_sparse_moe" not in key}
    assert mine == real


@pytest.mark.parametrize("kind", sorted(UNNAMED))
def test_types_without_names_say_so(kind: str) -> None:
    with pytest.raises(NoNames, match=kind):
        list(linears(read(TINY[kind], "tiny", class_name(kind)).spec))


@pytest.mark.parametrize("name", ["gpt2", "pythia-14m", "opt-350m", "gpt-neo-125m", "llama-3-8b"])
def test_plain_specs(name: str) -> None:
    """Every number of the matrices in the layers and of an untied head is in one linear layer."""
    spec = resolve_model(name)
    total = sum(linear.copies * linear.numbers for _, linear in linears(spec))
    layers = spec.layers * (
        2 * spec.width * (spec.query_width + spec.kv_width)
        + (2 + spec.gated_mlp) * spec.width * spec.mlp_width
    )
    head = 0 if spec.tied_head else spec.vocabulary * spec.embedding_width
    projections = 2 * spec.embedding_width * spec.width * spec.projected_embedding
    assert total == layers + head + projections
    assert any(linear.term == HEAD for _, linear in linears(spec)) == (not spec.tied_head)


def test_uniform_groups_hold_all_layers() -> None:
    """A model without windows has its layers in one group, GPT-Neo in two."""
    for name, groups in (("llama-3-8b", 1), ("gpt-neo-125m", 2)):
        spec = resolve_model(name)
        found = uniform_groups(spec)
        assert len(found) == groups
        assert sum(count for _, count in found) == spec.layers


def test_conv1d_is_a_linear_layer() -> None:
    """GPT-2's layers are Conv1D, which bitsandbytes and others take as linear."""
    assert not isinstance(Conv1D(4, 8), torch.nn.Linear)
    assert list(linear_layers(Conv1D(4, 8))) == [("", 8, 4)]
