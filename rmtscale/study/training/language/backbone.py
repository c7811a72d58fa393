"""The RMT of a language training: a backbone, memory, and what is trained of it.

From random initialisation, a pretrained checkpoint, or the backbone of another language training
(``init_from``). With LoRA, a parallel adapter (the paper's Table 1) or memory alone, the backbone
is frozen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rmtscale.errors import BadInput
from rmtscale.study.training.backbone import SIZES, from_config, pretrained, small_config
from rmtscale.study.training.beginning import take_backbone, take_memory
from rmtscale.study.training.language.settings import LanguageSettings
from rmtscale.study.training.lora import round_to_half, with_lora

if TYPE_CHECKING:
    from torch import nn

    from rmtscale.rmt import RMTForCausalLM
    from rmtscale.study.tasks.tokenizer import TextTokenizer


def build_text_rmt(
    settings: LanguageSettings, tokenizer: TextTokenizer, trained: RMTForCausalLM | None = None
) -> RMTForCausalLM:
    """Builds the RMT of a language training, on the CPU, in fp32, a function of the seed.

    Args:
        settings: of the training.
        tokenizer: whose ids it reads.
        trained: the RMT of another training, whose backbone it begins with, and whose memory where
            the settings have one.

    Raises:
        BadInput: no such backbone, an encoder, fewer token ids than the tokenizer has, a segment
            that does not fit, or a trained backbone of another shape or with more memory.
    """
    import torch

    from rmtscale.rmt import RMTConfig, RMTForCausalLM

    config = RMTConfig(
        segment_size=settings.segment_size,
        memory_tokens=settings.memory_tokens,
        sink_tokens=settings.sink_tokens,
        checkpoint_segments=settings.checkpoint_segments,
        adapter_width=settings.adapter_width,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        backbone = _backbone(settings, tokenizer)
        if trained is not None:
            take_backbone(backbone, trained, settings)
        if settings.adapted:
            round_to_half(backbone)
        if settings.lora_rank is not None:
            backbone = with_lora(backbone, settings.lora_rank)
        rmt = RMTForCausalLM(backbone, config)
    # Without memory it is the backbone alone that is asked for.
    if trained is not None and settings.memory_tokens:
        take_memory(rmt, trained, settings)
    if settings.adapted:
        rmt.freeze_backbone()
    return rmt


def _backbone(settings: LanguageSettings, tokenizer: TextTokenizer) -> nn.Module:
    size = SIZES.get(settings.backbone)
    if size is None:
        backbone, encoder = pretrained(settings.backbone, classes=2)
        inner: Any = backbone
        known = inner.get_input_embeddings().weight.shape[0]
        if known < tokenizer.vocabulary_size:
            raise BadInput(
                f"backbone {settings.backbone!r} knows {known} token ids: expected "
                f"{tokenizer.vocabulary_size} or more, those of the tokenizer"
            )
    else:
        from rmtscale.rmt.families import ENCODERS

        encoder = size.kind in ENCODERS
        if not encoder:
            config = small_config(
                size,
                tokenizer.vocabulary_size,
                settings.segment_size,
                end_of_text=tokenizer.end_of_text,
            )
            backbone = from_config(config, encoder=False)
    if encoder:
        raise BadInput(
            f"backbone {settings.backbone!r} of task {settings.task!r}: expected a decoder such as "
            "gpt-neox-text"
        )
    return backbone
