"""What is sent, as integers: predicted, and counted on real modules over fake process groups."""

from __future__ import annotations

import os
import warnings
from typing import Any, NamedTuple

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXConfig, LlamaConfig, OPTConfig

from rmtscale.costs.layouts.collectives import count_collectives, summed
from rmtscale.rmt import RMTConfig, RMTForCausalLM
from rmtscale.rmt import shard as shard_rmt
from rmtscale.specs.huggingface import from_config
from rmtscale.specs.layout import Layout
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from tests.costs.layouts.oracle_sharded import (
    count,
    make_whole,
    mesh_of,
    shard,
    tensor_parallel,
    world,
)

THOROUGH = "RMTSCALE_THOROUGH" in os.environ
SEGMENT, MEMORY, ROWS = 20, 2, 2
TEXT = SEGMENT - 2 * MEMORY
_SIZES: dict[str, Any] = {"vocab_size": 96, "max_position_embeddings": 64}
CONFIGS: dict[str, Any] = {
    "gpt2": lambda: GPT2Config(
        n_layer=3, n_embd=48, n_head=8, vocab_size=100, n_positions=64, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
    ),
    "llama": lambda: LlamaConfig(
        hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=8,
        num_key_value_heads=4, tie_word_embeddings=False, **_SIZES,
    ),
    "opt": lambda: OPTConfig(
        hidden_size=64, ffn_dim=160, num_hidden_layers=3, num_attention_heads=8, dropout=0.0,
        attention_dropout=0.0, word_embed_proj_dim=64, **_SIZES,
    ),
    "gpt_neox": lambda: GPTNeoXConfig(
        hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=8,
        hidden_dropout=0.0, attention_dropout=0.0, **_SIZES,
    ),
}  # fmt: skip
WAYS = ("full", "full checkpoints", "rmt", "rmt checkpoints", "rmt states")


class Case(NamedTuple):
    kind: str
    tp: int
    dp: int
    sequence: bool
    way: str


def cases() -> list[Case]:
    """A few in every run; all of them in ``make verify``."""
    every = [
        Case(kind, tp, dp, sequence, way)
        for kind in CONFIGS
        for tp, dp, sequence in (
            *((1, ranks, False) for ranks in (2, 7, 8)),
            *((tp, dp, sequence) for tp in (2, 4) for dp in (1, 2) for sequence in (False, True)),
        )
        # Of GPT-2 no plan of torch cuts a Conv1D; OPT and GPT-NeoX flatten or share their inputs.
        if (tp == 1 or kind != "gpt2") and (not sequence or kind == "llama")
        for way in WAYS
    ]
    if THOROUGH:
        return every
    few = {
        Case("gpt2", 1, 7, False, "rmt states"),
        Case("gpt2", 1, 2, False, "rmt"),
        Case("opt", 1, 8, False, "full"),
        Case("opt", 4, 1, False, "rmt"),
        Case("gpt_neox", 1, 7, False, "rmt checkpoints"),
        Case("gpt_neox", 4, 2, False, "full checkpoints"),
        Case("llama", 2, 2, False, "rmt states"),
        Case("llama", 4, 1, True, "full"),
        Case("llama", 4, 2, True, "full checkpoints"),
        Case("llama", 2, 2, True, "rmt states"),
        Case("llama", 2, 1, True, "rmt states"),
        Case("llama", 4, 1, True, "rmt"),
    }
    return [case for case in every if case in few]


@pytest.mark.parametrize("case", cases(), ids=lambda case: "-".join(map(str, case)))
def test_calls_and_elements_are_what_the_modules_send(case: Case) -> None:
    kind, tp, dp, sequence, way = case
    config = CONFIGS[kind]()
    recurrent = way.startswith("rmt")
    tokens = 3 * TEXT if recurrent else 2 * TEXT
    layout = Layout(
        tp=tp,
        dp=dp,
        zero=3,
        micro_batch=ROWS,
        sequence_parallel=sequence,
        recompute="full" if way.endswith("checkpoints") else "none",
        state_by_state=way.endswith("states"),
        shard_vocabulary=False,
    )
    work = Workload(tokens=tokens, batch_size=ROWS * dp, mode="train", precision="fp32")
    recurrence = Recurrence(SEGMENT, MEMORY) if recurrent else None
    expected = count_collectives(from_config(config.to_dict()), work, layout, recurrence)
    assert _sent(config, layout, way, tokens) == summed(expected)


def _sent(config: Any, layout: Layout, way: str, tokens: int) -> dict[str, tuple[int, int]]:
    """Runs forward and backward of the real module and counts."""
    with warnings.catch_warnings(), world(layout.gpus):
        warnings.simplefilter("ignore")
        module: Any = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
        if layout.recompute == "full":
            module.gradient_checkpointing_enable({"use_reentrant": False})
        if way.startswith("rmt"):
            by_state = layout.state_by_state
            settings = RMTConfig(SEGMENT, MEMORY, state_by_state=by_state, keep_logits="none")
            module = RMTForCausalLM(module, settings)
        module.train()
        mesh = mesh_of(layout.dp, layout.tp)
        if layout.tp > 1:
            tensor_parallel(module, mesh["tp"], sequence=layout.sequence_parallel)
        if layout.dp > 1:
            (shard_rmt if way.startswith("rmt") else shard)(module, mesh["dp"])
        ids = torch.randint(90, (ROWS, tokens))

        def run() -> None:
            more = {} if way.startswith("rmt") else {"use_cache": False}
            module(ids, labels=ids, **more).loss.backward()
            make_whole(module)

        return count(run).found()
