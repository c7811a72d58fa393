"""Trainings for BABILong: one small decoder for each task, and one for all five together.

A recipe is meant for a GPU, where several trainings share it side by side::

    rmtscale train --recipe babilong-qa1-0 --background TEXT --out FOLDER
    rmtscale evaluate FOLDER/best --lengths 0k,4k,128k --background TEXT

A story comes first without any noise, with questions among its facts, each answer with its own
loss: of one answer a story, in 1.3 million stories with noise, a model learned no more than that
the last place is right half of the time (docs/training.md has what changed that). Noise follows
where the bare story is learned.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rmtscale.study.figures.babilong import ablation
from rmtscale.study.figures.babilong.pretrained import CLOSING, NAME, pretrained
from rmtscale.study.tasks.babi.names import QAS, STATEFUL
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings

SEEDS = (0, 1, 2)
FAMILIES = (*QAS, "all")
"""``all`` is one model of the five tasks."""

MEMORY_TOKENS = 8
"""Four persons, three objects and where each was: two vectors of 192 numbers for each of them would
do, and a decoder that holds them twice has 496 tokens of text."""

_FULL = MemoryTaskSettings(
    task="babilong",
    task_options={"stories": "qa1"},
    segment_size=512,
    memory_tokens=MEMORY_TOKENS,
    segments=3,
    bare_tokens=(64, 146),
    start_tokens=(96, 192, 320),
    between_share=0.75,
    fact_fragments=0.003,
    batch_size=32,
    short_batch=8,
    # One over the root of the width. At toy size (width 64, two facts, 32 stories a step) 0.1 knew
    # who was where after 750 steps at a rate of 5e-4, and 0.02 not after 1,750 at 1e-3. At 2e-3 it
    # was not learned with 0.1 either, in 7,800 steps.
    initializer_range=0.072,
    learning_rate=5e-4,
    warmup_steps=200,
    steps=9000,
    threshold=0.98,
    stage_min_steps=100,
    stage_max_steps=2500,
    # Evaluated on an H200 in bf16: 31.0 million tokens a second, captured alone 12.8 million.
    compile_step=True,
    burn_in=(16, 64),
    burn_in_max_steps=800,
    # One fact answers a question of qa1, qa4 and qa5: where it is lost can be found.
    replay_lost=True,
    validation_segments=(3, 32),
    validation_samples=256,
)
_BARE = {
    "qa1": (64, 146),
    "qa2": (64, 192, 360),
    "qa3": (128, 256, 496),
    "qa4": (79,),
    "qa5": (64, 192, 400),
    "all": (128, 256, 496),
}
"""Tokens of the bare stages. The last of them hold every story, or 98 % of them, or a segment."""
_START = {
    "qa1": (96, 192, 320),
    "qa2": (192, 400),
    "qa3": (400,),
    "qa4": (96, 192, 320),
    "qa5": (192, 400),
    "all": (400,),
}
NOISE = 0.3
"""Noise on the memory in training: as wide as the dead band, and several times what one segment of
settled noise changes."""
LATE = 3
"""Most late facts: as many as segments have a gradient, where each is often alone in its own."""
WITH_STATE = (*STATEFUL, "all")
"""Trainings that may ask for the state too."""
_BARE_WITH_STATE = {"qa2": (96, 224, 400), "qa3": (192, 320, 496), "all": (192, 320, 496)}
"""There is a question or two after every fact then: the first of them hold a twelfth of the
stories, the last 98 % and 38 %."""
_THRESHOLD = {"qa1": 0.98, "qa2": 0.95, "qa3": 0.9, "qa4": 0.98, "qa5": 0.96, "all": 0.95}
_QUICK = replace(
    _FULL,
    backbone="gpt-neox-tiny",
    initializer_range=0.1,
    vocabulary_words=300,
    segment_size=160,
    segments=2,
    bare_tokens=(64,),
    start_tokens=(96,),
    batch_size=16,
    short_batch=4,
    steps=300,
    warmup_steps=20,
    stage_min_steps=20,
    stage_max_steps=100,
    compile_step=False,
    burn_in=(4,),
    burn_in_max_steps=40,
    ema_decay=0.98,
    log_every=20,
    validate_every=60,
    validation_segments=(2, 4),
    validation_samples=64,
    precision="fp32",
)


def recipes(background: str = "python") -> dict[str, MemoryTaskSettings]:
    """Returns every training by name: ``babilong-qa1-0``, ``babilong-all-2``.

    ``babilong-qa2-state-0`` (and ``-qa3-``, ``-all-``) also asks for the state that an answer is
    put together from, and ``babilong-qa2-closing-0`` for more of it after a burn-in;
    ``babilong-qa2-noise-0`` is that with noise on the memory, ``babilong-qa4-noise-0`` is
    ``babilong-qa4-0`` with it; ``babilong-qa2-late-0`` and ``babilong-qa4-late-0`` are these two
    with late facts in place of the noise;
    ``babilong-ablation-qa1-replay-0`` has what ``ablation.py`` adds up to the replay.
    ``smollm2-babilong-all-0`` and ``smollm2-babilong-lora-qa1-0`` are of ``pretrained.py``.

    Args:
        background: the noise between the facts, as of ``rmtscale train``.
    """
    known = {f"babilong-{name}-{seed}": full(name, seed) for seed in SEEDS for name in FAMILIES}
    known |= {
        f"babilong-{name}-state-{seed}": asking_for_state(name, seed)
        for seed in SEEDS
        for name in WITH_STATE
    }
    known |= {
        f"babilong-{name}-closing-{seed}": closing(name, seed)
        for seed in SEEDS
        for name in WITH_STATE
    }
    known |= {
        f"babilong-{name}-{kind}-{seed}": replace(
            closing(name, seed) if name in WITH_STATE else full(name, seed), **more
        )
        for kind, more in (("noise", {"memory_noise": NOISE}), ("late", {"late_facts": LATE}))
        for seed in SEEDS
        for name in FAMILIES
    }
    known |= {
        f"babilong-ablation-{task}-{change}-{seed}": ablated(task, change, seed)
        for seed in SEEDS
        for task in ablation.TASKS
        for change in ablation.ADDED
    }
    known |= {
        f"{NAME}-{kind}{name}-{seed}": pretrained(name, seed, lora=bool(kind))
        for seed in SEEDS
        for kind in ("", "lora-")
        for name in FAMILIES
    }
    known["quick-babilong-qa1-0"] = _QUICK
    return {name: replace(settings, background=background) for name, settings in known.items()}


def full(name: str, seed: int) -> MemoryTaskSettings:
    """Returns the training of a task, or of all."""
    stories = ",".join(QAS) if name == "all" else name
    return replace(
        _FULL,
        seed=seed,
        task_options={"stories": stories},
        bare_tokens=_BARE[name],
        start_tokens=_START[name],
        threshold=_THRESHOLD[name],
        replay_lost=name not in ("qa2", "qa3"),
    )


def asking_for_state(name: str, seed: int) -> MemoryTaskSettings:
    """Returns a training of ``WITH_STATE`` with half of its questions about the state."""
    settings = full(name, seed)
    return replace(
        settings,
        task_options=settings.task_options | {"ask_state": True},
        bare_tokens=_BARE_WITH_STATE[name],
    )


def closing(name: str, seed: int) -> MemoryTaskSettings:
    """Returns a training of ``WITH_STATE`` with more questions after a burn-in.

    What is replayed leaves facts out that they ask for.
    """
    return replace(asking_for_state(name, seed), closing_questions=CLOSING, replay_lost=False)


def ablated(task: str, change: str, seed: int) -> MemoryTaskSettings:
    """Returns the training of a task with all changes of the ablation up to one of them.

    A task of ``STATEFUL`` is asked for the state in all of them: without, it takes 8,200 steps to
    learn one segment.
    """
    full_values = {name: getattr(_FULL, name) for name in ablation.WITHOUT}
    values: dict[str, Any] = ablation.values_of(change, full_values)
    whole = asking_for_state(task, seed) if task in STATEFUL else full(task, seed)
    return replace(whole, **values)
