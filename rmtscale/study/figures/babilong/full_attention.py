"""Seconds of full attention for the samples that an RMT has read, by our own estimate."""

from __future__ import annotations

from rmtscale.costs.roofline import estimate_time
from rmtscale.errors import BadInput
from rmtscale.specs.devices import find_device
from rmtscale.specs.huggingface import from_config
from rmtscale.specs.workload import Workload
from rmtscale.study.records.babilong import BabilongRecord
from rmtscale.study.training.backbone import SIZES

DEVICE = "h200"
_VOCABULARY = 2000


def full_attention_seconds(record: BabilongRecord) -> float | None:
    """Estimates one pass of the same backbone over a sample at once on an H200: a lower bound.

    None where the backbone is none of the small ones.
    """
    size = SIZES.get(record.training.backbone) if record.training is not None else None
    if size is None or size.kind != "gpt_neox":
        return None
    config = {
        "model_type": "gpt_neox",
        "hidden_size": size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "intermediate_size": size.mlp_width,
        "max_position_embeddings": record.tokens,
        "vocab_size": _VOCABULARY,
        "rotary_pct": 0.5,
        "use_parallel_residual": False,
        "tie_word_embeddings": True,
    }
    try:
        spec = from_config(config)
        workload = Workload(tokens=record.tokens, mode="forward", precision="bf16")
        return estimate_time(spec, workload, find_device(DEVICE)).seconds
    except BadInput:
        return None
