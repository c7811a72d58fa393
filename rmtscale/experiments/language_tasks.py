"""The trainings behind Figures 7, 8, 9, 12 and Table 1: each a named recipe, all settings here.

What a curve is compared with has the same steps, batch, seed, tokenizer and the same targets in the
same order (``history_tokens``); only what the model sees before a target differs.

====================================  ==========================================================
``latex-128-context-744-0``           no memory, 744 tokens of true context before the block
``latex-128-rmt-4-mixing-0``          RMT trained on 1 to 4 segments, mixed; ``fixed``: 1, 2, 3, 4
``latex-512-...``                     the longer input
``lean-rmt-4-0``                      theorems, trained on 2 to 4 segments
``lean-apart-0``, ``lean-beside-0``   no memory, two segments: apart, and in one pass
``prose-backbone-0``, ``adapt-...-0``  Table 1: a backbone of prose, then LaTeX
====================================  ==========================================================

A full recipe is meant for a GPU, several side by side on one; a quick one for minutes on a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rmtscale.errors import BadInput, quoted_list
from rmtscale.training.language_settings import LEMMA_PROOF, LanguageSettings

SEEDS = (0, 1)
MEMORY_TOKENS = 2
CONTEXTS = {128: (4, 124, 372, 744), 512: (4, 508, 1524)}
"""True context of the models without memory, by input size: 4 fill the same input, the others are
the text of 1, 3 and 6 segments before the block."""
TRAINED = {128: (1, 2, 4, 7), 512: (1, 2, 4)}
"""Segments that RMT is trained on, by input size."""
READ = (1, 2, 4, 8, 16, 32)
"""Segments that it is evaluated on."""
LEAN_TRAINED = (2, 4, 6)
LEAN_READ = (1, 2, 3, 4, 6, 8, 12)

_LATEX = LanguageSettings(
    text="latex",
    tokenizer="latex-4096",
    memory_tokens=MEMORY_TOKENS,
    steps=4000,
    stage_steps=250,
    keep_stages=False,
    validate_every=1000,
)
_LEAN = replace(
    _LATEX,
    task=LEMMA_PROOF,
    text="lean",
    tokenizer="lean-4096",
    segment_size=256,
    memory_tokens=4,
    batch_size=32,
    start_segments=2,
)
_QUICK = LanguageSettings(
    text="python",
    vocabulary_size=512,
    backbone="gpt-neox-tiny",
    segment_size=36,
    memory_tokens=MEMORY_TOKENS,
    segments=1,
    batch_size=32,
    steps=240,
    stage_steps=40,
    warmup_steps=20,
    learning_rate=3e-3,
    ema_decay=0.98,
    precision="fp32",
    log_every=20,
    validate_every=120,
    validation_samples=64,
    keep_stages=False,
)
_QUICK_LEAN = replace(
    _QUICK,
    task=LEMMA_PROOF,
    segment_size=200,
    batch_size=8,
    start_segments=2,
    segments=2,
    steps=160,
)


@dataclass(frozen=True, slots=True)
class LanguagePlan:
    """Which trainings a figure needs, and what they are asked."""

    recipes: dict[str, LanguageSettings]
    """In the order they are trained: what another begins with comes first."""
    read: dict[str, tuple[int, ...]]
    """Segments each is evaluated on."""
    text: str | None
    """What all of them are evaluated on; None is what each was trained on."""
    history_tokens: dict[str, int | None]
    """Language modelling: text before each target; the same for what is compared."""
    samples: int
    """Targets at most."""
    batch_size: int


def recipes() -> dict[str, LanguageSettings]:
    """Every training by name, full and quick."""
    found: dict[str, LanguageSettings] = {}
    for seed in SEEDS:
        for size in TRAINED:
            found |= latex(size, seed)
        found |= lean(seed) | adapted(seed)
    for quick in (quick_latex(), quick_lean(), quick_adapted()):
        found |= quick
    return found


def latex(size: int, seed: int) -> dict[str, LanguageSettings]:
    """All trainings of one input size: without memory by context, RMT by segments, both ways."""
    base = replace(_LATEX, segment_size=size, batch_size=8192 // size, seed=seed)
    return _family(base, f"latex-{size}", CONTEXTS[size], TRAINED[size])


def _family(
    base: LanguageSettings, name: str, contexts: tuple[int, ...], trained: tuple[int, ...]
) -> dict[str, LanguageSettings]:
    """Trainings that score the same targets, with these contexts and numbers of segments."""
    block = base.segment_tokens
    history = max(*contexts, (max(trained) - 1) * block)
    base = replace(base, block_tokens=block, history_tokens=history)
    found = {}
    for context in contexts:
        found[f"{name}-context-{context}-{base.seed}"] = replace(
            base, memory_tokens=0, segment_size=context + block, segments=1
        )
    for count in trained:
        for mixing in (True, False):
            if count == 1 and not mixing:
                continue  # one segment can be mixed with nothing
            way = "mixing" if mixing else "fixed"
            found[f"{name}-rmt-{count}-{way}-{base.seed}"] = replace(
                base, segments=count, mixing=mixing
            )
    return found


def lean(seed: int) -> dict[str, LanguageSettings]:
    """Theorems and proofs: RMT by segments, and two models without memory."""
    return _theorems(replace(_LEAN, seed=seed), "lean", LEAN_TRAINED)


def _theorems(
    base: LanguageSettings, name: str, trained: tuple[int, ...]
) -> dict[str, LanguageSettings]:
    text = base.segment_tokens
    # The same theorems for all, whatever a model reads at once.
    base = replace(base, task_options={"most_tokens": text})
    found = {f"{name}-rmt-{count}-{base.seed}": replace(base, segments=count) for count in trained}
    apart = replace(base, memory_tokens=0, segment_size=text, segments=2)
    found[f"{name}-apart-{base.seed}"] = apart
    found[f"{name}-beside-{base.seed}"] = replace(
        apart, segment_size=2 * text, segments=1, start_segments=1
    )
    return found


def adapted(seed: int) -> dict[str, LanguageSettings]:
    """Table 1: a backbone trained on prose, then what is added to it, trained on LaTeX."""
    base = replace(_LATEX, seed=seed)
    return _adaptations(base, "prose", "adapt", lora_rank=8, adapter_width=32, text="prose")


def _adaptations(
    base: LanguageSettings,
    source: str,
    name: str,
    *,
    lora_rank: int,
    adapter_width: int,
    text: str,
) -> dict[str, LanguageSettings]:
    block = base.segment_tokens
    base = replace(base, block_tokens=block, history_tokens=max(2 * MEMORY_TOKENS, block))
    plain = replace(base, memory_tokens=0, segment_size=2 * MEMORY_TOKENS + block, segments=1)
    before, seed = f"{source}-backbone-{base.seed}", base.seed
    shorter = replace(base, steps=base.steps // 2, init_from=before, adapter_width=adapter_width)
    alone = replace(shorter, memory_tokens=0, segment_size=2 * MEMORY_TOKENS + block, segments=1)
    one, two = replace(shorter, segments=1), replace(shorter, segments=2)
    return {
        before: replace(plain, text=text),
        f"{name}-adapter-{seed}": alone,
        f"{name}-adapter-lora-{seed}": replace(alone, lora_rank=lora_rank),
        f"{name}-adapter-rmt-1-{seed}": one,
        f"{name}-adapter-lora-rmt-1-{seed}": replace(one, lora_rank=lora_rank),
        f"{name}-adapter-lora-rmt-2-{seed}": replace(two, lora_rank=lora_rank),
    }


def quick_latex() -> dict[str, LanguageSettings]:
    """The same shape at toy size."""
    return _family(_QUICK, "quick-text", (4, 64), (1, 2, 3))


def quick_lean() -> dict[str, LanguageSettings]:
    """Functions of the standard library in the place of theorems."""
    return _theorems(_QUICK_LEAN, "quick-lemma", (2, 3))


def quick_adapted() -> dict[str, LanguageSettings]:
    """Table 1 at toy size."""
    return _adaptations(
        replace(_QUICK, steps=120),
        "quick-source",
        "quick-adapt",
        lora_rank=2,
        adapter_width=8,
        text="python",
    )


def plan(
    figure: str,
    *,
    quick: bool,
    texts: Mapping[str, str],
    runs: Path,
    seeds: tuple[int, ...] | None = None,
) -> LanguagePlan:
    """What a figure is made of.

    Args:
        figure: ``figure-7``, ``figure-8``, ``figure-9``, ``figure-12`` or ``table-1``.
        quick: the toy size.
        texts: sources in the place of ``latex``, ``lean`` and ``prose``.
        runs: folder of the trainings, in which ``init_from`` is looked for.
        seeds: None is all there are.
    """
    from rmtscale.training.layout import LAST

    shown = seeds or SEEDS
    for seed in shown:
        if seed not in SEEDS:
            raise BadInput(f"seed {seed}: expected {quoted_list(SEEDS)}")
    if quick:
        found = {
            "figure-9": quick_lean,
            "table-1": quick_adapted,
        }.get(figure, quick_latex)()
    else:
        found = {}
        for seed in shown:
            if figure == "figure-9":
                found |= lean(seed)
            elif figure == "table-1":
                found |= adapted(seed)
            else:
                for size in TRAINED if figure == "figure-7" else (128,):
                    found |= latex(size, seed)
    ready = {}
    for name, one in found.items():
        source = texts.get(one.text)
        if source is None and one.text != "python":
            raise BadInput(
                f"{figure}: no text in the place of {one.text!r}, expected --text {one.text}=SOURCE"
            )
        start = None if one.init_from is None else str(runs / one.init_from / LAST)
        ready[name] = replace(one, text=source or one.text, init_from=start)
    read = {name: _read(one, quick=quick) for name, one in ready.items()}
    history = {
        name: None if one.task == LEMMA_PROOF else _longest(ready, read, one.scored_tokens)
        for name, one in ready.items()
    }
    # A backbone of prose is asked what it makes of the text that it is adapted to.
    text = next(reversed(ready.values())).text if figure == "table-1" else None
    samples, batch_size = (64, 32) if quick else (2048, 256)
    return LanguagePlan(ready, read, text, history, samples, batch_size)


def _longest(
    recipes: Mapping[str, LanguageSettings], read: Mapping[str, tuple[int, ...]], block_tokens: int
) -> int:
    """History of the longest reading: what is compared is asked for the same targets."""
    return max(
        max(read[name]) * one.segment_tokens - block_tokens
        for name, one in recipes.items()
        if one.scored_tokens == block_tokens
    )


def _read(settings: LanguageSettings, *, quick: bool) -> tuple[int, ...]:
    if settings.task == LEMMA_PROOF and settings.segments > 1:
        return (1, 2, 3) if quick else LEAN_READ
    if not settings.memory_tokens:
        return (1,)
    if settings.adapted:
        return (1, 2)
    return (1, 2, 4) if quick else READ
