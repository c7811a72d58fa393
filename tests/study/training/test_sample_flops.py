"""FLOPs of a sample against torch's counter on the real Predictor, as integers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from rmtscale.profiler.real_module import matmul_flops
from rmtscale.rmt import RMTConfig, RMTForCausalLM
from rmtscale.specs.workload import Mode
from rmtscale.study.training.language.flops import sample_flops
from rmtscale.study.training.language.model import Predictor
from rmtscale.study.training.language.settings import LanguageSettings
from tests.grids import covering
from tests.meta_shapes import RememberedShapes

SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32},
    "gpt_neo": {
        "hidden_size": 16,
        "num_layers": 2,
        "num_heads": 2,
        "max_position_embeddings": 32,
        "attention_types": [[["global", "local"], 1]],
    },
    "gpt_neox": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "use_parallel_residual": False,
        "tie_word_embeddings": True,
    },
}
LORA = {"gpt2": "c_attn", "gpt_neo": "q_proj", "gpt_neox": "query_key_value"}
CASES: dict[str, dict[str, Any]] = {
    "rmt": {"memory_tokens": 2},
    "recomputed": {"memory_tokens": 2, "checkpoint_segments": True},
    "baseline": {"memory_tokens": 0, "block_tokens": 12},
    "segments alone": {"memory_tokens": 0},
    "lemma-proof": {"memory_tokens": 2, "task": "lemma-proof"},
    "lemma-proof alone": {"memory_tokens": 0, "task": "lemma-proof", "checkpoint_segments": True},
}


def made(kind: str, settings: LanguageSettings, lora: int | None = None) -> RMTForCausalLM:
    config = AutoConfig.for_model(kind, vocab_size=37, **SHAPES[kind])
    with torch.device("meta"):
        backbone = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
        if lora is not None:
            import peft

            wanted = peft.LoraConfig(
                r=lora, target_modules=[LORA[kind]], fan_in_fan_out=kind == "gpt2"
            )
            backbone = peft.get_peft_model(backbone, wanted)
        rmt: RMTForCausalLM = RMTForCausalLM(
            backbone,
            RMTConfig(
                segment_size=settings.segment_size,
                memory_tokens=settings.memory_tokens,
                checkpoint_segments=settings.checkpoint_segments,
                adapter_width=settings.adapter_width,
            ),
        ).to("meta")
        return rmt


def counted(rmt: RMTForCausalLM, settings: LanguageSettings, segments: int, mode: Mode) -> int:
    """Of three samples."""
    predictor = Predictor(rmt).train(mode == "train")
    ids = torch.zeros(3, segments * settings.segment_tokens, dtype=torch.long, device="meta")
    scored = settings.scored_tokens_of(segments)
    with RememberedShapes(), FlopCounterMode(display=False) as counter:
        if mode == "forward":
            predictor.token_losses(ids, ids, scored)
        else:
            predictor(ids, ids, scored).backward()
    return sum(matmul_flops(counter).values())


@pytest.mark.parametrize(
    ("kind", "case", "mode"), covering(SHAPES, CASES, ["forward", "train"], together=2)
)
def test_it_is_what_is_multiplied(kind: str, case: str, mode: Mode) -> None:
    settings = LanguageSettings(segment_size=16, **CASES[case])
    rmt = made(kind, settings)
    for segments in (1, 3):
        expected = counted(rmt, settings, segments, mode)
        assert 3 * sample_flops(rmt, settings, segments, mode) == expected


@pytest.mark.parametrize(
    ("kind", "added", "mode"),
    covering(SHAPES, ["lora", "adapter", "both"], ["forward", "train"], together=2),
)
def test_what_is_added_to_a_frozen_backbone(kind: str, added: str, mode: Mode) -> None:
    settings = LanguageSettings(
        segment_size=16,
        lora_rank=None if added == "adapter" else 3,
        adapter_width=None if added == "lora" else 5,
        checkpoint_segments=added == "both",
    )
    rmt = made(kind, settings, settings.lora_rank)
    rmt.freeze_backbone()
    assert 3 * sample_flops(rmt, settings, 2, mode) == counted(rmt, settings, 2, mode)


@pytest.mark.parametrize("added", ["lora_rank", "adapter_width"])
def test_without_memory_the_first_frozen_block_is_counted_in_full(added: str) -> None:
    given: dict[str, Any] = {added: 3}
    settings = LanguageSettings(segment_size=16, memory_tokens=0, **given)
    rmt = made("gpt2", settings, settings.lora_rank)
    rmt.freeze_backbone()
    known = counted(rmt, settings, 1, "train")
    forward = counted(rmt, settings, 1, "forward")
    # The gradients of one block of two; attention's products have two of them.
    assert known < 3 * sample_flops(rmt, settings, 1, "train") < known + 2 * forward / 2
