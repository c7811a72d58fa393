"""The trainings of a pretrained decoder: memory of three sizes, learned in three ways, and none.

All score the same targets in the same order, at the same steps, batch and seed. Those that stand
beside each other have the same weights trained, at the same rate; only what is seen before a target
differs. ``--backbone`` names the folder of the weights.

===================================  ===========================================================
``smollm2-256-rmt-10-0``             all weights, 10 memory tokens, trained on 1 to 4 segments
``smollm2-256-rmt-10-fixed-0``       the same, each stage of one number of segments
``smollm2-256-context-64-0``         all weights, no memory, as many positions as a segment
``smollm2-256-context-752-0``        the same, with the true text of four segments in one pass
``smollm2-256-lora-rmt-10-0``        LoRA, the backbone frozen; ``lora-context-...`` without memory
``smollm2-256-memory-rmt-10-0``      the initial memory alone is trained
``smollm2-256-sink-rmt-10-0``        all weights, one of the memory tokens a sink; ``sink-lora-...``
``smollm2-256-from-2-rmt-10-0``      trained on 2 to 4 segments, never on 1; ``sink-from-2-...``
``smollm2-256-repeat-sink-...``      the last, half of the batches repeating what was read
``smollm2-256-untouched-context-..`` the pretrained model as it is, which that one is held against
``smollm2-512-...``                  the longer input
``smollm2-lean-rmt-4-0``             Figure 9: theorems, all weights, trained on 2 and 4 segments
``smollm2-lean-apart-4-0``           the same segments without memory; ``lean-beside-0`` one pass
===================================  ===========================================================
"""

from __future__ import annotations

from dataclasses import replace

from rmtscale.study.figures.language.plan import Trainings
from rmtscale.study.figures.language.recipes import (
    SEEDS,
    THEOREMS,
    Recipes,
    proofs,
    quick_start,
    without_memory,
)
from rmtscale.study.training.language.settings import LanguageSettings

NAME = "smollm2"
SIZES = (256, 512)
"""Input sizes."""
MEMORY_TOKENS = (2, 10, 32)
MAIN_MEMORY_TOKENS = 10
"""Memory of the other ways of training, and of the pictures that show one model."""
READ = (1, 2, 4, 8, 16)
"""Segments that a model with memory is evaluated on; it is trained on up to four."""
OVERHEAD = 2 * max(MEMORY_TOKENS)
"""Positions of a segment that are not scored, whatever memory takes of them: the same targets."""
SINK_TOKENS = 1
"""A third of SmolLM2's attention goes to position 0 (reports/pretrained-decoder/tried): the first
memory token keeps its trained initial value, so that no segment overwrites what stands there."""
LATER_START = 2
"""Segments that a training begins with which never reads one alone, where memory tells nothing."""
REPEAT_SHARE, REPEAT_UNTIL = 0.5, 0.7
"""Half of the batches repeat, as reading has to be learned from nothing within 625 steps, and fewer
over the last 30 %, so that what is evaluated was last trained on ordinary text."""
LORA_RANK = 16
LORA_RATE, MEMORY_RATE = 1e-3, 1e-2
"""Few weights bear more than all of them: LoRA three times the rate, as in Table 1; memory, whose
numbers are as large as embeddings (0.12 in SmolLM2), a rate that moves them within 100 steps."""
UNTOUCHED_RATE = 1e-9
"""Rate of the single step of a model that stays as it is: below what half precision keeps."""

_ALL = LanguageSettings(
    text="latex",
    backbone="",
    memory_tokens=MAIN_MEMORY_TOKENS,
    segments=4,
    steps=2000,
    stage_steps=100,
    warmup_steps=50,
    learning_rate=3e-4,
    final_decay_share=0.5,
    ema_decay=0.99,
    keep_stages=False,
    log_every=25,
    validate_every=500,
    validation_samples=128,
)
_LEAN = replace(_ALL, **THEOREMS)
LEAN_TRAINED = (2, 4)


def recipes() -> Recipes:
    """Returns every training by name, full and quick."""
    known = quick()
    for seed in SEEDS:
        known |= full(seed) | lean(seed)
    return known


def lean(seed: int) -> Recipes:
    """Returns theorems, which ``reproduce figure-9`` shows from records of them."""
    return proofs(replace(_LEAN, seed=seed), f"{NAME}-lean", LEAN_TRAINED)


def full(seed: int) -> Recipes:
    """Returns the trainings of both input sizes."""
    family: Recipes = {}
    for size in SIZES:
        base = replace(_ALL, segment_size=size, batch_size=8192 // size, seed=seed)
        name = f"{NAME}-{size}"
        own = _family(base, name, MEMORY_TOKENS, MAIN_MEMORY_TOKENS, READ)
        family |= own | _variants(own, name, MAIN_MEMORY_TOKENS, seed)
    return family


def quick() -> Recipes:
    """Returns the same shape at toy size: on a language model that is trained here."""
    name = "quick-decoder-start-0"
    start = quick_start()
    base = replace(
        start,
        init_from=name,
        segment_size=40,
        memory_tokens=4,
        segments=3,
        history_tokens=None,
        batch_size=16,
        steps=80,
        stage_steps=20,
    )
    family = _family(base, "quick-decoder", (2, 4), 4, QUICK_READ)
    family["quick-decoder-sink-rmt-4-0"] = _sink(family["quick-decoder-rmt-4-0"])
    return {name: start, **family}


QUICK_READ = (1, 2, 3, 6)
TRAININGS = Trainings(full=full, quick=quick, read=READ, quick_read=QUICK_READ, variants=True)


def _family(
    base: LanguageSettings,
    name: str,
    memories: tuple[int, ...],
    main: int,
    read: tuple[int, ...],
) -> Recipes:
    """Returns trainings that score the same targets.

    Args:
        base: all settings but those that differ.
        name: their names begin with it.
        memories: numbers of memory tokens.
        main: the one of LoRA and of memory alone; contexts hold the text that it reads.
        read: segments that will be read, so that documents are long enough for all.
    """
    size, seed = base.segment_size, base.seed
    room = 2 * max(memories)
    block = size - room
    text = size - 2 * main
    contexts = (room, 2 * text - block, base.segments * text - block)
    longest = max(read) * (size - 2 * min(memories)) - block
    base = replace(base, block_tokens=block, history_tokens=longest)
    lora = replace(base, lora_rank=LORA_RANK, learning_rate=LORA_RATE)
    memory = replace(base, memory_tokens=main, memory_only=True, learning_rate=MEMORY_RATE)
    untouched = replace(
        base, lora_rank=1, learning_rate=UNTOUCHED_RATE, steps=1, start_segments=base.segments
    )
    family = {
        f"{name}-rmt-{count}-{seed}": replace(base, memory_tokens=count) for count in memories
    }
    family[f"{name}-rmt-{main}-fixed-{seed}"] = replace(base, memory_tokens=main, mixing=False)
    family[f"{name}-lora-rmt-{main}-{seed}"] = replace(lora, memory_tokens=main)
    family[f"{name}-memory-rmt-{main}-{seed}"] = memory
    for words, alike in (("", base), ("lora-", lora), ("untouched-", untouched)):
        for context in contexts:
            family[f"{name}-{words}context-{context}-{seed}"] = without_memory(
                alike, block + context
            )
    return family


def _sink(alike: LanguageSettings) -> LanguageSettings:
    return replace(alike, sink_tokens=SINK_TOKENS)


def _variants(family: Recipes, name: str, main: int, seed: int) -> Recipes:
    """Returns trainings of a family with a sink, those that begin with two segments, and those of
    both that repeat text.

    Args:
        family: of one input size and seed.
        name: their names begin with it.
        main: memory tokens.
        seed: of the family.
    """
    end = f"rmt-{main}-{seed}"
    found = {
        f"{name}-sink-{words}{end}": _sink(family[f"{name}-{words}{end}"])
        for words in ("", "lora-", "memory-")
    }
    for words in ("", "lora-"):
        plain = replace(family[f"{name}-{words}{end}"], start_segments=LATER_START)
        found[f"{name}-from-{LATER_START}-{words}{end}"] = plain
        sink = _sink(plain)
        found[f"{name}-sink-from-{LATER_START}-{words}{end}"] = sink
        found[f"{name}-repeat-sink-from-{LATER_START}-{words}{end}"] = replace(
            sink, repeat_share=REPEAT_SHARE, repeat_until=REPEAT_UNTIL
        )
    return found
