"""RMTConfig: values that make no sense, room for text, versions, a round trip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import GPT2Config

from rmtscale.errors import BadInput
from rmtscale.rmt import RMTConfig, RMTForCausalLM, RMTForSequenceClassification
from tests.rmt.tiny_models import POSITIONS, backbone


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"segment_size": 0}, "segment size 0: expected a whole number of 1 or more"),
        ({"segment_size": 2.5}, "segment size 2.5"),
        ({"memory_tokens": -1}, "memory tokens -1: expected 0 or more"),
        ({"alignment": "centre"}, "alignment 'centre': expected one of right, left"),
        ({"loss_on": "first"}, "loss_on 'first': expected one of all, last"),
        ({"keep_logits": "some"}, "keep_logits 'some': expected one of none, last, all"),
        ({"sink_tokens": -1}, "sink tokens -1 of 10 memory tokens: expected 0 to 9, so that one"),
        ({"sink_tokens": 10}, "sink tokens 10 of 10 memory tokens: expected 0 to 9"),
        ({"sink_tokens": True}, "sink tokens True of 10 memory tokens: expected 0 to 9"),
        ({"sink_tokens": 1.0}, "sink tokens 1.0 of 10 memory tokens: expected 0 to 9"),
        ({"sink_tokens": 1, "memory_tokens": 1}, "sink tokens 1 of 1 memory tokens: expected 0$"),
        ({"sink_tokens": 1, "memory_tokens": 0}, "sink tokens 1 of 0 memory tokens: expected 0$"),
        ({"bptt_segments": 0}, "bptt_segments 0: expected a whole number of 1 or more"),
        ({"adapter_width": 0}, "adapter_width 0"),
        ({"format_version": 2}, "format version 2 of an RMT: expected 1"),
        ({"backbone_config": {"n_layer": 2}}, "no model_type"),
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        RMTConfig(**values)


def test_what_is_set_is_read_back(tmp_path: Path) -> None:
    config = RMTConfig(
        100,
        3,
        alignment="left",
        loss_on="last",
        bptt_segments=4,
        checkpoint_segments=True,
        state_by_state=True,
        keep_logits="none",
        sink_tokens=2,
        cls_token_id=5,
        adapter_width=7,
        adapter_scale=2.0,
        backbone_config=GPT2Config(n_layer=3),
    )
    config.save_pretrained(tmp_path)
    read = RMTConfig.from_pretrained(tmp_path)
    ours, theirs = config.to_dict(), read.to_dict()
    assert ours.pop("backbone_config")["n_layer"] == theirs.pop("backbone_config")["n_layer"] == 3
    for name in (
        "segment_size",
        "memory_tokens",
        "alignment",
        "loss_on",
        "bptt_segments",
        "checkpoint_segments",
        "state_by_state",
        "keep_logits",
        "sink_tokens",
        "cls_token_id",
        "adapter_width",
        "adapter_scale",
        "format_version",
    ):
        assert ours[name] == theirs[name], name
    assert json.loads((tmp_path / "config.json").read_text())["format_version"] == 1


def test_memory_that_leaves_no_room_for_text_is_refused() -> None:
    with pytest.raises(BadInput, match="segment size 8: expected more than 8, which 4 memory"):
        RMTForCausalLM(backbone("gpt2"), RMTConfig(8, 4))
    assert RMTForCausalLM(backbone("gpt2"), RMTConfig(9, 4)).segment_tokens == 1
    special: dict[str, Any] = {"cls_token_id": 1, "sep_token_id": 2}
    with pytest.raises(BadInput, match="segment size 7: expected more than 7"):
        RMTForSequenceClassification(backbone("bert"), RMTConfig(7, 4, **special))
    model = RMTForSequenceClassification(backbone("bert"), RMTConfig(9, 4, **special))
    assert model.segment_tokens == 2


@pytest.mark.parametrize("kind", ["gpt2", "opt", "gpt_neo"])
def test_a_segment_over_the_position_table_is_refused(kind: str) -> None:
    with pytest.raises(BadInput, match=rf"segment size 17: expected {POSITIONS} or less"):
        RMTForCausalLM(backbone(kind), RMTConfig(POSITIONS + 1, 2))
    RMTForCausalLM(backbone(kind), RMTConfig(POSITIONS, 2))


@pytest.mark.parametrize("kind", ["gpt_neox", "llama"])
def test_rotary_backbones_have_no_such_limit(kind: str) -> None:
    assert RMTForCausalLM(backbone(kind), RMTConfig(3 * POSITIONS, 2)).segment_tokens == 44


def test_the_config_given_is_not_changed() -> None:
    config = RMTConfig(8, 2)
    model = RMTForCausalLM(backbone("gpt2"), config)
    assert config.backbone_config is None
    assert model.config.backbone_config.model_type == "gpt2"
