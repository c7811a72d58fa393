"""FLOPs of one sample of a language task, by the estimator: what a training has spent.

``matmul`` convention. Memory tokens are positions like all others; the head is counted where it
runs, at the tokens that are scored.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from rmtscale.costs.breakdown import Term
from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.terms import ATTENTION_TERMS, FlopTerm
from rmtscale.rmt import RMTForCausalLM
from rmtscale.specs.huggingface import from_config
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Mode, Workload
from rmtscale.study.training.language.settings import LanguageSettings


def sample_flops(
    rmt: RMTForCausalLM, settings: LanguageSettings, segments: int, mode: Mode = "forward"
) -> int:
    """FLOPs of reading one sample, or of one training step for it.

    LoRA and parallel adapters are counted, and so is what a frozen backbone saves: the gradients
    of its weights. The gradients of the input are counted for every block, though the first one
    needs none where neither memory nor anything else before it is trained.

    Args:
        rmt: which parameters are trained is seen from ``requires_grad``.
        settings: how much is scored, and whether segments are recomputed.
        segments: the sample has.
        mode: ``forward`` or ``train``.
    """
    scored = settings.scored_tokens_of(segments)
    segment_tokens = rmt.segment_tokens
    memory_tokens: int = rmt.config.memory_tokens
    # Without memory, segments in which nothing is scored are not run.
    runs = segments if memory_tokens else -(-scored // segment_tokens)
    tokens = runs * segment_tokens
    breakdown = estimate_flops(
        from_config(rmt.backbone.config.to_dict()),
        Workload(tokens=tokens, mode=mode, checkpoint_segments=settings.checkpoint_segments),
        Recurrence(rmt.config.segment_size, memory_tokens),
        "matmul",
    )
    frozen = not any(weight.requires_grad for weight in _own(rmt))
    total = 0
    for term in breakdown.terms:
        flops = _without_weight_gradient(term) if frozen else term.amount
        total += flops // tokens * scored if term.name == FlopTerm.HEAD else flops
    passes = 1 if mode == "forward" else 3 + settings.checkpoint_segments
    positions: int = runs * rmt.config.segment_size
    return total + 2 * passes * positions * sum(matrix.numel() for matrix in _added(rmt))


def _without_weight_gradient(term: Term) -> int:
    """Halves a backward pass: half is for the gradient of the weight, attention has none."""
    halved = term.phase == "backward" and term.name not in ATTENTION_TERMS
    return term.amount // 2 if halved else term.amount


def _added(rmt: RMTForCausalLM) -> Iterator[nn.Parameter]:
    """Matrices that stand beside the backbone's own and see every position."""
    for name, parameter in rmt.named_parameters():
        if parameter.ndim == 2 and ("lora_" in name or name.startswith("adapters.")):
            yield parameter


def _own(rmt: RMTForCausalLM) -> Iterator[nn.Parameter]:
    """Yields the backbone's own weights."""
    for name, parameter in rmt.backbone.named_parameters():
        if "lora_" not in name:
            yield parameter
