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

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rmtscale.errors import BadInput, quoted_list
from rmtscale.study.training.language.settings import LEMMA_PROOF, LanguageSettings
from rmtscale.units import require_one_of

SEEDS = (0, 1)
MEMORY_TOKENS = 8
"""The paper has 2, of the width of GPT-2: as many numbers as 6 of ours. From random initialisation
2 learn to carry next to nothing in the time there is."""
BEFORE = {128: (1, 3, 6), 512: (1, 3)}
"""True context of the models without memory, in blocks, by input size. Two more have none, as in
the paper, and what fills the input of an RMT."""
TRAINED = {128: (1, 2, 4, 7), 512: (1, 2, 4)}
"""Segments that RMT is trained on, by input size."""
READ = (1, 2, 4, 7, 8, 16, 28, 32)
"""Segments that it is evaluated on: those trained on, four times as many, and on to 32."""
QUICK_READ = (1, 2, 3, 4, 8, 12, 32)
LORA_RANK = 32
ADAPTER_WIDTH = 128
LEAN_TRAINED = (2, 4, 6)
LEAN_READ = (1, 2, 3, 4, 6, 8, 12)

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
_LEAN = replace(
    _LATEX,
    task=LEMMA_PROOF,
    text="lean",
    tokenizer="lean-4096",
    segment_size=256,
    segments=2,
    start_segments=2,
    batch_size=32,
    # There are few theorems: after 4,000 steps they are known by heart and proofs of others read
    # worse than after 800 (reports/figure-9/tried).
    steps=800,
    stage_steps=80,
    weight_decay=0.1,
)
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


@dataclass(frozen=True, slots=True)
class LanguagePlan:
    """Which trainings a figure needs, and what they are asked."""

    recipes: dict[str, LanguageSettings]
    """In the order they are trained: what another begins with comes first."""
    read: dict[str, tuple[int, ...]]
    """Segments each is evaluated on; what others begin with is not."""
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
    start = {f"latex-start-{seed}": replace(_START, seed=seed)}
    base = replace(_LATEX, segment_size=size, batch_size=8192 // size, seed=seed)
    return start | _family(base, start, f"latex-{size}", BEFORE[size], TRAINED[size])


def quick_latex() -> dict[str, LanguageSettings]:
    """The same shape at toy size."""
    start = {"quick-start-0": _QUICK_START}
    return start | _family(_QUICK, start, "quick-text", (2,), (1, 2, 3))


def _family(
    base: LanguageSettings,
    start: Iterable[str],
    name: str,
    before: tuple[int, ...],
    trained: tuple[int, ...],
) -> dict[str, LanguageSettings]:
    """Trainings that score the same targets, with these blocks of context or segments."""
    block, seed = base.segment_tokens, base.seed
    contexts = (0, base.segment_size - block, *(count * block for count in before))
    base = replace(
        base,
        init_from=next(iter(start)),
        block_tokens=block,
        history_tokens=max(*contexts, (max(trained) - 1) * block),
    )
    found = {}
    for context in contexts:
        found[f"{name}-context-{context}-{seed}"] = without_memory(base, context + block)
    for count in trained:
        for way in ("mixing", "fixed"):
            if count == 1 and way == "fixed":
                continue  # one segment can be mixed with nothing
            found[f"{name}-rmt-{count}-{way}-{seed}"] = replace(
                base, segments=count, mixing=way == "mixing"
            )
    return found


def without_memory(base: LanguageSettings, segment_size: int) -> LanguageSettings:
    """One pass over so much."""
    return replace(base, memory_tokens=0, segment_size=segment_size, segments=1, start_segments=1)


def lean(seed: int) -> dict[str, LanguageSettings]:
    """Theorems and proofs: RMT by segments, its like without memory, and one pass over two."""
    return _theorems(replace(_LEAN, seed=seed), _START.steps // 5, "lean", LEAN_TRAINED)


def quick_lean() -> dict[str, LanguageSettings]:
    """Functions of the standard library in the place of theorems."""
    return _theorems(_QUICK_LEAN, _QUICK_START.steps, "quick-lemma", (2, 3))


def _theorems(
    base: LanguageSettings, start_steps: int, name: str, trained: tuple[int, ...]
) -> dict[str, LanguageSettings]:
    text, seed = base.segment_tokens, base.seed
    # The same theorems for all, whatever a model reads at once.
    base = replace(base, task_options={"most_tokens": text})
    first = f"{name}-start-{seed}"
    begun = replace(
        without_memory(base, 2 * text), steps=start_steps, learning_rate=_START.learning_rate
    )
    base = replace(base, init_from=first)
    found = {first: begun}
    for count in trained:
        longer = replace(base, segments=count)
        found[f"{name}-rmt-{count}-{seed}"] = longer
        # All of a theorem is scored: more segments are more targets, so each has its own baseline.
        found[f"{name}-apart-{count}-{seed}"] = replace(longer, memory_tokens=0, segment_size=text)
    found[f"{name}-beside-{seed}"] = without_memory(base, 2 * text)
    return found


def adapted(seed: int) -> dict[str, LanguageSettings]:
    """Table 1: a backbone trained on prose, then what is added to it, trained on LaTeX."""
    start = {f"prose-backbone-{seed}": replace(_START, text="prose", seed=seed)}
    # Eager: what is added to a backbone is hooks, which are not compiled, and times are compared.
    # Short inputs are where a second segment brings most (Figure 7). A frozen backbone bears three
    # times the rate (reports/table-1/tried).
    base = replace(
        _LATEX,
        segment_size=128,
        batch_size=64,
        seed=seed,
        steps=6000,
        learning_rate=3e-3,
        compile_step=False,
    )
    return start | _adaptations(base, start, "adapt", LORA_RANK, ADAPTER_WIDTH)


def quick_adapted() -> dict[str, LanguageSettings]:
    """Table 1 at toy size."""
    start = {"quick-backbone-0": _QUICK_START}
    return start | _adaptations(_QUICK, start, "quick-adapt", 2, 8)


def _adaptations(
    base: LanguageSettings, start: Iterable[str], name: str, lora_rank: int, adapter_width: int
) -> dict[str, LanguageSettings]:
    block, seed = base.segment_tokens, base.seed
    base = replace(
        base, init_from=next(iter(start)), block_tokens=block, history_tokens=block, segments=1
    )
    found = {}
    for words, lora in (("adapter", None), ("adapter-lora", lora_rank)):
        one = replace(base, adapter_width=adapter_width, lora_rank=lora)
        found[f"{name}-{words}-alone-{seed}"] = without_memory(one, block)
        found[f"{name}-{words}-{seed}"] = without_memory(one, base.segment_size)
        found[f"{name}-{words}-rmt-1-{seed}"] = one
        # Two segments in every step, so that time and memory are those of two.
        found[f"{name}-{words}-rmt-2-{seed}"] = replace(one, segments=2, start_segments=2)
    return found


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
    from rmtscale.study.training.layout import LAST

    known = sorted({one.text for one in recipes().values()} - {"python"})
    for name in texts:
        require_one_of("text", name, known)
    if quick and (texts or seeds not in (None, (0,))):
        raise BadInput("--quick: expected neither --text nor other --seeds than 0")
    found = _quick(figure) if quick else _full(figure, seeds or SEEDS)
    ready = {}
    for name, one in found.items():
        source = texts.get(one.text)
        if source is None and one.text != "python":
            raise BadInput(
                f"{figure}: no text in the place of {one.text!r}, expected --text {one.text}=SOURCE"
            )
        start = None if one.init_from is None else str(runs / one.init_from / LAST)
        ready[name] = replace(one, text=source or one.text, init_from=start)
    begun_with = {one.init_from for one in found.values()}
    asked = {name: one for name, one in ready.items() if name not in begun_with}
    read = {name: _read(one, quick=quick) for name, one in asked.items()}
    history = {
        name: None if one.task == LEMMA_PROOF else _longest(asked, read, one.scored_tokens)
        for name, one in asked.items()
    }
    samples, batch_size = (64, 32) if quick else (2048, 256)
    return LanguagePlan(ready, read, history, samples, batch_size)


def _quick(figure: str) -> dict[str, LanguageSettings]:
    made = {"figure-9": quick_lean, "table-1": quick_adapted}.get(figure, quick_latex)
    return made()


def _full(figure: str, seeds: tuple[int, ...]) -> dict[str, LanguageSettings]:
    found: dict[str, LanguageSettings] = {}
    for seed in seeds:
        if seed not in SEEDS:
            raise BadInput(f"seed {seed}: expected {quoted_list(SEEDS)}")
        if figure == "figure-9":
            found |= lean(seed)
        elif figure == "table-1":
            found |= adapted(seed)
        else:
            for size in (128,) if figure == "figure-12" else TRAINED:
                found |= latex(size, seed)
    return found


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
    return QUICK_READ if quick else READ
