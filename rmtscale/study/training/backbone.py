"""The backbone of a training: a small one from its configuration, or a pretrained checkpoint.

Small ones are drawn anew; their sizes are for checkpoints of at most 4 MB in half precision (but
for ``gpt-neox-text``). Any other name is a folder or a name on the hub, in safetensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmtscale.errors import BadInput, quoted_list, reason_of

if TYPE_CHECKING:
    from torch import nn


INITIALIZER_RANGE = 0.02
"""Hugging Face's own, whatever the width."""
CLS, SEP = 2, 3
"""Special ids of the tasks' own vocabulary, which encoders put around their segments."""


@dataclass(frozen=True, slots=True)
class Size:
    """A small backbone."""

    kind: str
    layers: int
    width: int
    heads: int
    mlp_width: int


SIZES = {
    "gpt-neox-small": Size("gpt_neox", 4, 192, 6, 576),
    "gpt-neox-tiny": Size("gpt_neox", 2, 64, 4, 128),
    "gpt2-small-random": Size("gpt2", 4, 192, 6, 512),
    "gpt2-tiny": Size("gpt2", 2, 64, 4, 128),
    "gpt-neo-small-random": Size("gpt_neo", 4, 192, 6, 512),
    "gpt-neo-tiny": Size("gpt_neo", 2, 64, 4, 128),
    "gpt-neox-text": Size("gpt_neox", 6, 256, 8, 1024),
    "modernbert-small": Size("modernbert", 4, 192, 6, 384),
    "modernbert-tiny": Size("modernbert", 2, 64, 4, 96),
    "bert-small": Size("bert", 4, 192, 6, 512),
    "bert-tiny": Size("bert", 2, 64, 4, 128),
}
"""Backbones from random initialisation, by name."""


def small_config(
    size: Size,
    vocabulary: int,
    positions: int,
    *,
    classes: int = 2,
    end_of_text: int | None = None,
    initializer_range: float = INITIALIZER_RANGE,
) -> Any:
    """Its Hugging Face configuration; no dropout, which random initialisation does not need.

    Args:
        size: which one.
        vocabulary: token ids.
        positions: of the longest segment.
        classes: answers of an encoder.
        end_of_text: the one special id of a text; None has those of the memory tasks.
        initializer_range: standard deviation of the weights.
    """
    from transformers import AutoConfig

    special = (0, CLS, SEP) if end_of_text is None else (end_of_text,) * 3
    names = ("pad_token_id", "bos_token_id", "eos_token_id")
    common: dict[str, Any] = {
        "vocab_size": vocabulary,
        "initializer_range": initializer_range,
        **dict(zip(names, special, strict=True)),
    }
    shape = {
        "hidden_size": size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "intermediate_size": size.mlp_width,
    }
    if size.kind == "gpt_neox":
        # Half of each head turns with the position, so that one half can look for content
        # whatever the distance; blocks one after the other are deeper than side by side.
        own_fields: dict[str, Any] = {
            **shape,
            "max_position_embeddings": positions,
            "rotary_pct": 0.5,
            "use_parallel_residual": False,
            "tie_word_embeddings": True,
        }
    elif size.kind == "gpt2":
        own_fields = {
            "n_embd": size.width,
            "n_layer": size.layers,
            "n_head": size.heads,
            "n_inner": size.mlp_width,
            "n_positions": positions,
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
        }
    elif size.kind == "gpt_neo":
        own_fields = {
            "hidden_size": size.width,
            "num_layers": size.layers,
            "num_heads": size.heads,
            "intermediate_size": size.mlp_width,
            "max_position_embeddings": positions,
            # The released ones alternate with windows of 256, which a segment seldom exceeds.
            "attention_types": [[["global"], size.layers]],
            "resid_dropout": 0.0,
            "embed_dropout": 0.0,
            "attention_dropout": 0.0,
        }
    elif size.kind == "modernbert":
        own_fields = {
            **shape,
            "max_position_embeddings": positions,
            "global_attn_every_n_layers": 1,
            "cls_token_id": CLS,
            "sep_token_id": SEP,
            "num_labels": classes,
        }
    else:
        own_fields = {
            **shape,
            "max_position_embeddings": positions,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "num_labels": classes,
        }
    return AutoConfig.for_model(size.kind, **common, **own_fields)


def from_config(config: Any, *, encoder: bool) -> nn.Module:
    """Returns the module of a configuration, drawn anew; GPT-Neo has eager attention only."""
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    auto: Any = AutoModelForSequenceClassification if encoder else AutoModelForCausalLM
    attention = "eager" if config.model_type == "gpt_neo" else "sdpa"
    module: nn.Module = auto.from_config(config, attn_implementation=attention)
    return module


def pretrained(name: str, classes: int) -> tuple[nn.Module, bool]:
    """Returns a checkpoint, and whether it is an encoder."""
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
    )

    from rmtscale.rmt.families import DECODERS, ENCODERS

    looks_local = Path(name).is_dir() or name.startswith((".", "/"))
    try:
        config = AutoConfig.from_pretrained(name, local_files_only=looks_local)
        encoder = config.model_type in ENCODERS
        if not encoder and config.model_type not in DECODERS:
            raise BadInput(
                f"backbone {name!r} is of model_type {config.model_type!r}: expected "
                f"{quoted_list([*ENCODERS, *DECODERS])}"
            )
        if encoder:
            config.num_labels = classes
        auto: Any = AutoModelForSequenceClassification if encoder else AutoModelForCausalLM
        # An encoder's head may have been for another number of answers; it begins anew then.
        model: nn.Module = auto.from_pretrained(
            name,
            config=config,
            dtype="float32",  # and not as the file has it: half weights would be trained in half
            use_safetensors=True,
            local_files_only=looks_local,
            ignore_mismatched_sizes=encoder,
        )
    except (OSError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(
            f"backbone {name!r}: {reason_of(error, 300)}; expected {quoted_list(SIZES)}, a folder "
            "with safetensors or a name on the hub"
        ) from error
    return model, encoder
