"""Takes a backbone as it is: finds its body, and has it checked.

Shape legend: E embedding width, V vocabulary.

The backbone is used as it is: nothing in it is replaced or copied.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rmtscale.errors import BadInput
from rmtscale.rmt.body import Body, named
from rmtscale.rmt.checks import check_body, probe_ids
from rmtscale.rmt.families import FamilyBody, is_family
from rmtscale.rmt.validation import has_values


def body_of(backbone: object, segment_size: int, *, causal: bool, check: bool = True) -> Body:
    """Returns how a backbone is run on embeddings, after the checks of one that no family is.

    Args:
        backbone: any object.
        segment_size: of the RMT.
        causal: whether it has to be a decoder.
        check: False for one that was checked when it was wrapped and is loaded now: what was
            trained is never refused.

    Raises:
        BadInput: not a model of Transformers with a head, an encoder-decoder, a check that fails
            (which one is said), or a segment that does not fit in a table of positions.
    """
    wanted = "a causal language model" if causal else "an encoder with a classification head"
    if not isinstance(backbone, PreTrainedModel):
        raise BadInput(f"{named(backbone)}: expected {wanted} of Transformers")
    if getattr(backbone.config, "is_encoder_decoder", False):
        raise BadInput(
            f"{named(backbone)}: an encoder-decoder; expected {wanted}, whose memory goes in "
            "where it came out"
        )
    if is_family(backbone, causal):
        return FamilyBody.of(backbone, causal)
    _require_embeddings(backbone)
    body = Body.of(backbone, causal)
    longest = check_body(backbone, body, causal=causal) if check else None
    if longest is not None and segment_size > longest:
        raise BadInput(
            f"segment size {segment_size}: expected {longest} or less, the position table of "
            f"{backbone.config.model_type} (positions restart in every segment)"
        )
    return body


def _require_embeddings(backbone: Any) -> None:
    try:
        weight = backbone.get_input_embeddings().weight
    except (AttributeError, NotImplementedError):
        weight = None
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        raise BadInput(f"{named(backbone)}: expected one table of token embeddings")


def embedding_std(backbone: PreTrainedModel) -> float:
    """Returns the spread of the token embeddings: memory starts out as large as they are.

    Some models scale what they look up (Gemma, by the square root of the width).
    """
    embedding: Any = backbone.get_input_embeddings()
    weight_VE: Tensor = embedding.weight
    if not has_values(weight_VE):
        config = backbone.config
        return float(getattr(config, "initializer_range", getattr(config, "init_std", 0.02)))
    std = float(weight_VE.detach().float().std())
    if type(embedding) is not nn.Embedding:
        with torch.no_grad():
            ids = probe_ids(backbone)[0]
            looked_up, stored = embedding(ids).float().norm(), weight_VE[ids].float().norm()
        if float(stored) > 0 and bool(looked_up.isfinite()):
            std *= float(looked_up / stored)
    return std
