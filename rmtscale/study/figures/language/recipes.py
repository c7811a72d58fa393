"""The trainings behind Figures 7, 8, 9, 12 and Table 1: each a named recipe, all settings here.

Each begins with an ordinary language model of long inputs, trained here on the same text, as the
paper begins with GPT-2. What a curve is compared with has the same steps, batch, seed, tokenizer
and the same targets in the same order (``history_tokens``); only what the model sees before a
target differs.

=====================================  =========================================================
``latex-start-0``                      the language model that the next two kinds begin with
``latex-128-context-672-0``            no memory, 672 tokens of true context before the block
``latex-128-rmt-4-mixing-0``           RMT trained on 1 to 4 segments, mixed, or ``fixed``
``latex-512-...``                      the longer input
``lean-start-0``, ``lean-rmt-4-0``     theorems, trained on 2 to 4 segments
``lean-apart-4-0``                     the same segments as ``lean-rmt-4-0``, without memory
``lean-beside-0``                      no memory, the text of two segments in one pass
``prose-backbone-0``, ``adapt-...-0``  Table 1: a language model of prose, then LaTeX
=====================================  =========================================================

A full recipe is meant for a GPU, several side by side on one; a quick one for minutes on a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rmtscale.study.training.language.settings import LEMMA_PROOF, LanguageSettings

Recipes = dict[str, LanguageSettings]
"""Settings by the name of their training."""

SEEDS = (0, 1)
MEMORY_TOKENS = 8
"""The paper has 2, of the width of GPT-2: as many numbers as 6 of ours. From random initialisation
2 learn to carry next to nothing in the time there is."""
BEFORE = {128: (1, 3, 6), 512: (1, 3)}
"""True context of the models without memory, in blocks, by input size. Two more have none, as in
the paper, and what fills the input of an RMT."""
TRAINED = {128: (1, 2, 4, 7), 512: (1, 2, 4)}
"""Segments that RMT is trained on, by input size."""
LORA_RANK = 32
ADAPTER_WIDTH = 128
LEAN_TRAINED = (2, 4, 6)

_START = LanguageSettings(
    # An ordinary language model of long inputs, as the paper's GPT-2 is one: all tokens scored.
    text="latex",
    tokenizer="latex-4096",
    segment_size=2048,
    memory_tokens=0,
    segments=1,
    history_tokens=0,
    batch_size=4,
    steps=8000,
    keep_stages=False,
    validate_every=1000,
    compile_step=True,
)
_LATEX = replace(
    _START,
    memory_tokens=MEMORY_TOKENS,
    history_tokens=None,
    # After 2,000 at half the rate memory had learned next to nothing (reports/figure-7/tried).
    steps=4000,
    stage_steps=300,
    warmup_steps=100,
)
THEOREMS: Mapping[str, Any] = {
    "task": LEMMA_PROOF,
    "text": "lean",
    "segment_size": 256,
    "segments": 2,
    "start_segments": 2,
    "batch_size": 32,
    # There are few of them: after 4,000 steps they are known by heart and proofs of others read
    # worse than after 800 (reports/figure-9/tried).
    "steps": 800,
    "stage_steps": 80,
    "weight_decay": 0.1,
}
"""Settings of every training on theorems, whatever the backbone."""
_LEAN = replace(_LATEX, tokenizer="lean-4096", **THEOREMS)
_QUICK_START = replace(
    _START,
    text="python",
    tokenizer=None,
    vocabulary_size=512,
    backbone="gpt-neox-tiny",
    segment_size=192,
    batch_size=8,
    steps=240,
    warmup_steps=20,
    learning_rate=3e-3,
    ema_decay=0.98,
    precision="fp32",
    compile_step=False,
    log_every=20,
    validate_every=120,
    validation_samples=64,
)
_QUICK = replace(
    _QUICK_START,
    segment_size=40,
    memory_tokens=4,
    history_tokens=None,
    batch_size=32,
    steps=120,
    stage_steps=20,
    learning_rate=2e-3,
)
_QUICK_LEAN = replace(
    _QUICK, task=LEMMA_PROOF, segment_size=204, batch_size=8, start_segments=2, segments=2
)


def recipes() -> Recipes:
    """Returns every training by name, full and quick."""
    known: Recipes = {}
    for seed in SEEDS:
        known |= latex_sizes(seed) | lean(seed) | adapted(seed)
    return known | quick_latex() | quick_lean() | quick_adapted()


def latex_sizes(seed: int) -> Recipes:
    """Returns the trainings of both input sizes."""
    return {name: settings for size in TRAINED for name, settings in latex(size, seed).items()}


def latex(size: int, seed: int) -> Recipes:
    """Returns the trainings of one input size: without memory by context, RMT both ways."""
    start = f"latex-start-{seed}"
    base = replace(_LATEX, init_from=start, segment_size=size, batch_size=8192 // size, seed=seed)
    return {
        start: replace(_START, seed=seed),
        **_family(base, f"latex-{size}", BEFORE[size], TRAINED[size]),
    }


def quick_start() -> LanguageSettings:
    """Returns the language model at toy size that other trainings begin with."""
    return _QUICK_START


def quick_latex() -> Recipes:
    """Returns the same shape at toy size."""
    start = "quick-start-0"
    base = replace(_QUICK, init_from=start)
    return {start: _QUICK_START, **_family(base, "quick-text", (2,), (1, 2, 3))}


def _family(
    base: LanguageSettings, name: str, before: tuple[int, ...], trained: tuple[int, ...]
) -> Recipes:
    """Returns trainings that score the same targets, with these blocks of context or segments."""
    block, seed = base.segment_tokens, base.seed
    contexts = (0, base.segment_size - block, *(count * block for count in before))
    base = replace(
        base,
        block_tokens=block,
        history_tokens=max(*contexts, (max(trained) - 1) * block),
    )
    family = {}
    for context in contexts:
        family[f"{name}-context-{context}-{seed}"] = without_memory(base, context + block)
    for count in trained:
        for way in ("mixing", "fixed"):
            if count == 1 and way == "fixed":
                continue  # one segment can be mixed with nothing
            family[f"{name}-rmt-{count}-{way}-{seed}"] = replace(
                base, segments=count, mixing=way == "mixing"
            )
    return family


def without_memory(base: LanguageSettings, segment_size: int) -> LanguageSettings:
    """Returns the same without memory, in one pass over so much."""
    return replace(base, memory_tokens=0, segment_size=segment_size, segments=1, start_segments=1)


def lean(seed: int) -> Recipes:
    """Returns theorems: RMT by segments, its like without memory, and one pass over two."""
    return _theorems(replace(_LEAN, seed=seed), _START.steps // 5, "lean", LEAN_TRAINED)


def quick_lean() -> Recipes:
    """Returns the same with functions of the standard library in the place of theorems."""
    return _theorems(_QUICK_LEAN, _QUICK_START.steps, "quick-lemma", (2, 3))


def _theorems(
    base: LanguageSettings, start_steps: int, name: str, trained: tuple[int, ...]
) -> Recipes:
    text, seed = base.segment_tokens, base.seed
    # The same theorems for all, whatever a model reads at once.
    base = replace(base, task_options={"most_tokens": text})
    first = f"{name}-start-{seed}"
    theorems = {
        first: replace(
            without_memory(base, 2 * text), steps=start_steps, learning_rate=_START.learning_rate
        )
    }
    return theorems | proofs(replace(base, init_from=first), name, trained)


def proofs(base: LanguageSettings, name: str, trained: tuple[int, ...]) -> Recipes:
    """Returns trainings on the same theorems: RMT by segments, its like without, and one pass.

    Args:
        base: all settings but those that differ.
        name: their names begin with it.
        trained: segments.
    """
    text, seed = base.segment_tokens, base.seed
    # The same theorems for all, whatever a model reads at once.
    base = replace(base, task_options={"most_tokens": text})
    theorems = {}
    for count in trained:
        longer = replace(base, segments=count)
        theorems[f"{name}-rmt-{count}-{seed}"] = longer
        # All of a theorem is scored: more segments are more targets, so each has its own baseline.
        theorems[f"{name}-apart-{count}-{seed}"] = replace(
            longer, memory_tokens=0, segment_size=text
        )
    theorems[f"{name}-beside-{seed}"] = without_memory(base, 2 * text)
    return theorems


def adapted(seed: int) -> Recipes:
    """Returns Table 1: a backbone trained on prose, then what is added to it, trained on LaTeX."""
    backbone = f"prose-backbone-{seed}"
    # Eager: what is added to a backbone is hooks, which are not compiled, and times are compared.
    # Short inputs are where a second segment brings most (Figure 7). A frozen backbone bears three
    # times the rate (reports/table-1/tried).
    base = replace(
        _LATEX,
        init_from=backbone,
        segment_size=128,
        batch_size=64,
        seed=seed,
        steps=6000,
        learning_rate=3e-3,
        compile_step=False,
    )
    return {
        backbone: replace(_START, text="prose", seed=seed),
        **_adaptations(base, "adapt", LORA_RANK, ADAPTER_WIDTH),
    }


def quick_adapted() -> Recipes:
    """Returns Table 1 at toy size."""
    backbone = "quick-backbone-0"
    base = replace(_QUICK, init_from=backbone)
    return {backbone: _QUICK_START, **_adaptations(base, "quick-adapt", 2, 8)}


def _adaptations(base: LanguageSettings, name: str, lora_rank: int, adapter_width: int) -> Recipes:
    block, seed = base.segment_tokens, base.seed
    base = replace(base, block_tokens=block, history_tokens=block, segments=1)
    adaptations = {}
    for words, lora in (("adapter", None), ("adapter-lora", lora_rank)):
        rmt = replace(base, adapter_width=adapter_width, lora_rank=lora)
        adaptations[f"{name}-{words}-alone-{seed}"] = without_memory(rmt, block)
        adaptations[f"{name}-{words}-{seed}"] = without_memory(rmt, base.segment_size)
        adaptations[f"{name}-{words}-rmt-1-{seed}"] = rmt
        # Two segments in every step, so that time and memory are those of two.
        adaptations[f"{name}-{words}-rmt-2-{seed}"] = replace(rmt, segments=2, start_segments=2)
    return adaptations
