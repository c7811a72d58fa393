"""What matmuls and softmax read and write, against the tensors of the real modules, as integers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rmtscale.costs.conventions import pass_terms
from rmtscale.costs.roofline import moved_elements
from rmtscale.profiler.real_module import module_inputs, real_module, values_of_meta
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.reading import read
from rmtscale.specs.workload import Workload
from tests.costs import oracle_memory as oracle
from tests.meta_shapes import RememberedShapes
from tests.specs.test_rows import class_name
from tests.specs.tiny_configs import TINY

TOKENS = 40
ONE_BY_ONE = (
    *("gptj", "gpt_neo", "opt", "xglm", "minicpm3", "bert", "electra", "albert", "distilbert"),
    *("mpnet", "t5", "mt5", "bart", "llama", "qwen2", "qwen3", "gemma2", "olmo2", "cohere"),
    *("starcoder2", "nemotron", "smollm3", "deepseek_v3"),
)
"""Types whose matmuls are written one by one, and keys not once per query head if none are grouped;
where one matmul makes query, key and value, what it reads is read once and not three times."""
JOINT = ("gpt2", "pythia-70m")


class Moved(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the numbers that matmuls and softmaxes read and write; a bias is none of them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.partition("::")[2]
        if name in ("mm", "bmm", "_softmax", "addmm", "baddbmm"):
            read = [one for one in args if isinstance(one, torch.Tensor)]
            for one in (*read[name in ("addmm", "baddbmm") :], out):
                self.elements += one.numel()
        return out


def predicted(spec: Any, batch: int) -> int:
    return sum(
        moved_elements(term, batch, fused=False)
        for term in pass_terms("matmul", spec, TOKENS, TOKENS)
        if term.flops
    )


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kind", ONE_BY_ONE)
def test_a_type_moves_what_its_module_moves(kind: str, batch: int) -> None:
    config = dict(TINY[kind])
    if "num_key_value_heads" in config:
        config["num_key_value_heads"] = config["num_attention_heads"]
    if "first_k_dense_replace" in config:  # no layer of experts
        config["first_k_dense_replace"] = config["num_hidden_layers"]
    module: Any = real_module(config, class_name(kind), "tiny")
    inputs = module_inputs(module, batch, TOKENS)
    with RememberedShapes(), values_of_meta(), torch.no_grad(), Moved() as moved:
        module(**inputs)
    spec = read(config, "tiny", class_name(kind)).spec
    assert predicted(spec, batch) == moved.elements


@pytest.mark.parametrize("name", JOINT)
def test_a_family_moves_what_its_module_moves(name: str) -> None:
    spec = replace(oracle.shrink(PRESETS[name], 2), vocabulary=300)
    work = Workload(tokens=TOKENS, batch_size=2, attention="eager")
    with RememberedShapes(), oracle.as_on_the_gpu(), torch.device("meta"), torch.no_grad():
        module = oracle.build(spec, work)
        ids = torch.zeros(work.batch_size, work.tokens, dtype=torch.long)
        with Moved() as moved:
            oracle.whole_pass(module, spec, ids, train=False)
    assert predicted(spec, work.batch_size) == moved.elements
