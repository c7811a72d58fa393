"""FLOPs of full attention, an RMT or another method, forward or a whole training step."""

from __future__ import annotations

from collections.abc import Iterator

from rmtscale.costs.adapter_flops import adapter_terms, ends_block, frozen_backward
from rmtscale.costs.breakdown import Breakdown, Term
from rmtscale.costs.conventions import (
    CONVENTIONS,
    DEFAULT_CONVENTION,
    pass_terms,
)
from rmtscale.costs.design import Design, resolve_design
from rmtscale.costs.methods.method import Method
from rmtscale.costs.passes import Pass, plan_passes
from rmtscale.costs.terms import FlopTerm, PassTerm
from rmtscale.errors import BadInput
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from rmtscale.units import require_one_of

BACKWARD_OPERATORS = {
    "addmm": "mm",
    "mm": "mm",
    "bmm": "bmm",
    "baddbmm": "bmm",
    "convolution": "convolution_backward",
}


def estimate_flops(
    model: ModelSpec,
    workload: Workload,
    recurrence: Design = None,
    convention: str = DEFAULT_CONVENTION,
) -> Breakdown:
    """FLOPs of one workload, as terms that sum to the total.

    Args:
        model: the backbone.
        workload: tokens per sequence, batch size, ``forward`` or ``train``, checkpoints; a
            step of several micro-batches costs as many times one of them.
        recurrence: None for full attention in one pass, else how the RMT cuts the input, or
            another method (``rmtscale.costs.methods``; those know ``matmul`` only).
        convention: ``hoffmann`` (default), ``matmul``, ``kaplan`` or ``paper``.

    Returns:
        Phases ``forward``, ``backward`` (two times forward: one matmul for the gradient of the
        input, one for that of the weight; Hoffmann et al. 2022, Appendix F) and ``recompute``
        (activation checkpoints), in FLOPs. An optimizer step multiplies no matrices; it costs
        memory traffic, not FLOPs, and is left out.

    Under ``paper`` an RMT is tokens / segment size segments and its memory is free, as in the
    figure. Under ``kaplan`` training keeps the context term that Kaplan et al. drop (their 6N is
    meant for d > s / 12): without it a training step over a long input would cost less than its
    forward pass.

    Raises:
        BadInput: an unknown convention, one that a method has no formula for, a backbone that
            cannot have the method, or a segment that cannot be (see ``Recurrence``).
    """
    require_one_of("convention", convention, CONVENTIONS)
    recurrence = resolve_design(model, workload, recurrence)
    if isinstance(recurrence, Recurrence) and convention == "paper":
        return _paper_recurrence(model, workload, recurrence)
    adapter, train = workload.adapter, workload.train
    samples, reached = workload.batch_size * workload.accumulate, _reached(workload, recurrence)
    if adapter is not None and convention != "matmul":
        raise BadInput(f"convention {convention!r}: expected matmul, the one that counts adapters")
    terms: dict[str, list[Term]] = {"forward": [], "backward": [], "recompute": []}
    for run, run_terms in _runs(model, workload, recurrence, convention):
        for term in run_terms:
            once = int(run.last)
            runs, backward_runs = (once, once) if term.once else (run.runs, run.backward_runs)
            flops = term.flops * samples
            forward = term.operator
            if train and term.trained_operator is not None:
                forward = term.trained_operator
            if runs:
                terms["forward"].append(Term("forward", term.name, flops * runs, forward))
            if train and backward_runs:
                operator = BACKWARD_OPERATORS.get(forward or "")
                flops *= backward_runs
                backward = 2 * flops
                if adapter is not None and term.name != FlopTerm.ADAPTER:
                    frozen = frozen_backward(term, model, adapter, reached=reached)
                    backward = frozen * samples * backward_runs
                elif term.backward_flops is not None:
                    backward = term.backward_flops * samples * backward_runs
                terms["backward"].append(Term("backward", term.name, backward, operator))
                if term_is_recomputed(term, model, workload, recurrence, convention):
                    terms["recompute"].append(Term("recompute", term.name, flops, forward))
    return Breakdown(tuple(term for phase in terms.values() for term in phase))


def _runs(
    model: ModelSpec, workload: Workload, design: Design, convention: str
) -> Iterator[tuple[Pass, tuple[PassTerm, ...]]]:
    """The passes of one sequence, and the terms of each."""
    if isinstance(design, Method):
        if convention != "matmul":
            raise BadInput(
                f"convention {convention!r}: expected matmul, the one that method "
                f"{design.name} has a formula for"
            )
        whole = Pass(workload.tokens, workload.tokens, 1, int(workload.train), last=True)
        terms = design.terms(model, workload.tokens)
        yield whole, tuple(term for term in terms if term.flops)
        return
    for run in plan_passes(model, workload, design):
        terms = pass_terms(convention, model, run.size_tokens, run.text_tokens)
        if workload.adapter is not None:
            reached = _reached(workload, design)
            kept = kept_behind(model, workload)
            size = run.size_tokens
            terms += adapter_terms(model, workload.adapter, size, reached=reached, kept=kept)
        yield run, terms


def _reached(workload: Workload, design: Design) -> bool:
    """Whether a gradient goes through the first layer's input though the embedding is frozen."""
    memory = isinstance(design, Recurrence) and design.memory_tokens > 0
    return memory or workload.checkpoint_layers


def term_is_recomputed(
    term: PassTerm,
    model: ModelSpec,
    workload: Workload,
    recurrence: Design,
    convention: str,
) -> bool:
    """Whether a backward pass computes this term once more."""
    if workload.checkpoint_segments and recurrence is not None:
        # The head scores at once, outside the checkpoint.
        return not term.once and term.name != FlopTerm.HEAD
    if not workload.checkpoint_layers or not term.in_block:
        return False
    if convention == "matmul" and term.name == FlopTerm.DENSE_DOWN:
        # torch stops recomputing once it has what the backward pass needs: the last matmul of
        # a block is skipped unless something behind it keeps its result.
        adapter = workload.adapter
        beside = adapter is not None and ends_block(model, adapter)
        return beside or kept_behind(model, workload)
    return True


def kept_behind(model: ModelSpec, workload: Workload) -> bool:
    """Whether something behind a block keeps what comes out of it for the backward pass."""
    dropout = workload.dropout is not False and model.hidden_dropout > 0
    return dropout or model.post_norm


def _paper_recurrence(model: ModelSpec, workload: Workload, recurrence: Recurrence) -> Breakdown:
    """Figure 2's RMT: tokens / segment size times the cost of one segment, exactly.

    Every term of the formula has a factor s, so the cost per token is a whole number.
    """
    size, batch = recurrence.segment_size, workload.batch_size * workload.accumulate
    recurrence.segment_tokens(model)  # raises where there is no such segment
    terms: dict[str, list[Term]] = {"forward": [], "backward": [], "recompute": []}
    for term in pass_terms("paper", model, size, size):
        flops = batch * (term.flops if term.once else term.flops * workload.tokens // size)
        terms["forward"].append(Term("forward", term.name, flops))
        if workload.train:
            terms["backward"].append(Term("backward", term.name, 2 * flops))
            if term_is_recomputed(term, model, workload, recurrence, "paper"):
                terms["recompute"].append(Term("recompute", term.name, flops))
    return Breakdown(tuple(term for phase in terms.values() for term in phase))
