"""Any backbone that an RMT runs on comes back from a folder as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rmtscale.errors import BadInput
from rmtscale.limits import MOST_ROWS
from rmtscale.rmt import RMTConfig, RMTForCausalLM
from tests.grids import THOROUGH
from tests.rmt.any_backbone import committed
from tests.rmt.tiny_models import backbone
from tests.rmt.tiny_types import CAUSAL, tiny_model

EQUAL = [
    row["model_type"]
    for row in committed()
    if row["class"] == CAUSAL.get(row["model_type"]) and row["rmt"] == "equal"
]
ODD = {
    "bart": "its configuration has fields that are called as options of generation are",
    "whisper": "the same, with lists",
    "dots3_note_text": "layers of different sizes, in a configuration of each",
    "gemma4_unified_text": "the same",
    "nemotron_h": "kinds of layers that only its own class knows",
    "qwen4_exp": "a table of n-grams larger than any vocabulary",
    "gemma2": "nothing of this",
}
"""What Transformers would find through the configuration of an RMT, and hold against it."""
KNOWN = [kind for kind in ODD if kind in CAUSAL]
"""Those that the installed Transformers has."""


@pytest.mark.parametrize("kind", EQUAL if THOROUGH else KNOWN)
def test_it_comes_back(kind: str, tmp_path: Path) -> None:
    assert kind in EQUAL
    model = RMTForCausalLM(tiny_model(kind, dtype=torch.float32), RMTConfig(10, 2)).eval()
    ids = torch.randint(3, 90, (2, 13))
    logits = model(ids).logits
    model.save_pretrained(tmp_path)
    other = RMTForCausalLM.from_pretrained(tmp_path).eval()
    ours, theirs = model.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
    before, after = (one.backbone.config.to_dict() for one in (model, other))
    before.pop("_name_or_path", None), after.pop("_name_or_path", None)
    assert before == after
    assert logits is not None
    # Where a tensor lies in memory changes the order of sums.
    torch.testing.assert_close(other(ids).logits, logits, atol=1e-5, rtol=1e-5)


def test_what_a_backbone_says_is_saved_in_its_own_part_only(tmp_path: Path) -> None:
    for kind in KNOWN:
        model = RMTForCausalLM(tiny_model(kind), RMTConfig(10, 2))
        model.save_pretrained(tmp_path / kind)
        read = RMTConfig.from_pretrained(tmp_path / kind)
        assert read.is_heterogeneous is False
        assert type(read.backbone_config) is type(model.backbone.config)
        assert not hasattr(read, "_anything")


def test_a_size_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    model = RMTForCausalLM(backbone("gpt2"), RMTConfig(8, 2))
    model.save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text(encoding="utf-8")
    vocabulary = model.backbone.config.vocab_size
    assert f'"vocab_size": {vocabulary}' in text
    changed = text.replace(f'"vocab_size": {vocabulary}', f'"vocab_size": {MOST_ROWS + 1}')
    (tmp_path / "config.json").write_text(changed, encoding="utf-8")
    with pytest.raises(BadInput, match=rf"vocab_size is {MOST_ROWS + 1}, expected 67,108,864 or"):
        RMTForCausalLM.from_pretrained(tmp_path)
