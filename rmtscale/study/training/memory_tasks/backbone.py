"""The RMT of a memory-task training: a backbone, drawn anew or pretrained, and its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rmtscale.study.training.backbone import (
    CLS,
    SEP,
    SIZES,
    from_config,
    pretrained,
    small_config,
)
from rmtscale.study.training.lora import with_lora
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings

if TYPE_CHECKING:
    from torch import nn

    from rmtscale.rmt.base import RMTPreTrainedModel


def build_rmt(
    settings: MemoryTaskSettings,
    vocabulary: int,
    classes: int,
    edges: tuple[int, int] = (CLS, SEP),
) -> RMTPreTrainedModel:
    """Builds the RMT of a training, on the CPU, in fp32; weights are a function of the seed.

    Args:
        settings: of the training.
        vocabulary: token ids.
        classes: answers there are.
        edges: ids of ``[CLS]`` and ``[SEP]`` in the vocabulary, for an encoder. A BERT's config
            has none: its tokenizer knows them.

    Raises:
        BadInput: no such backbone, of a kind that is not supported, or a segment that does not fit.
    """
    import torch

    from rmtscale.rmt import RMTConfig, RMTForCausalLM, RMTForSequenceClassification
    from rmtscale.rmt.families import ENCODERS

    config = RMTConfig(
        segment_size=settings.segment_size,
        memory_tokens=settings.memory_tokens,
        sink_tokens=settings.sink_tokens,
        checkpoint_segments=settings.checkpoint_segments,
    )
    backbone: nn.Module
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        size = SIZES.get(settings.backbone)
        if size is not None:
            backbone_config = small_config(
                size,
                vocabulary,
                settings.segment_size,
                classes=classes,
                initializer_range=settings.initializer_range,
            )
            encoder = size.kind in ENCODERS
            backbone = from_config(backbone_config, encoder=encoder)
        else:
            backbone, encoder = pretrained(settings.backbone, classes)
        if settings.lora_rank is not None:
            backbone = with_lora(backbone, settings.lora_rank, every_matrix=True)
        rmt: RMTPreTrainedModel
        if encoder:
            config.cls_token_id, config.sep_token_id = edges
            rmt = RMTForSequenceClassification(backbone, config)
        else:
            rmt = RMTForCausalLM(backbone, config)
    if settings.lora_rank is not None:
        rmt.freeze_backbone()
    return rmt
