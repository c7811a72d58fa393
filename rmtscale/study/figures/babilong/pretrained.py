"""Trainings for BABILong of a pretrained decoder, of the size of the published RMT.

``--backbone`` names the folder of the weights, SmolLM2-135M for the names that the recipes have::

    rmtscale train --recipe smollm2-babilong-all-0 --backbone FOLDER --background TEXT --out RUN
    rmtscale evaluate RUN/best --lengths 0k,4k,128k --background TEXT

A token costs some fifty times the FLOPs of the small decoder's, and English is known: stages are
short, of few samples, and begin with whole stories. What has worked since for the small one stands
in all of them: questions for the state, closing questions, burn-ins in three of four batches.
"""

from __future__ import annotations

from dataclasses import replace

from rmtscale.study.figures.memory_tasks.encoder_recipes import GIVEN_BACKBONE
from rmtscale.study.tasks.babi.names import QAS, STATEFUL
from rmtscale.study.training.memory_tasks.settings import MemoryTaskSettings

NAME = "smollm2-babilong"
LORA_RANK = 16
LORA_RATE = 5e-4
"""That of the pretrained encoder's recipes, with the same LoRA: in every matrix of the layers."""
CLOSING = 12
"""Most questions more after a burn-in: half of the stories of qa2 have an answer to 5 or fewer
others, half of those of qa3 to 12 or more."""

_ALL_WEIGHTS = MemoryTaskSettings(
    task="babilong",
    backbone=GIVEN_BACKBONE,
    segment_size=512,
    # As many as the small decoder's: segments hold the same 496 tokens of text.
    memory_tokens=8,
    segments=3,
    # All of qa1 and qa4, half of qa5, a third of qa2 with its questions; then a whole segment.
    bare_tokens=(160, 496),
    start_tokens=(),
    between_share=0.75,
    fact_fragments=0.003,
    batch_size=16,
    short_batch=4,
    learning_rate=2e-4,
    warmup_steps=50,
    steps=2500,
    final_decay_share=0.2,
    threshold=0.95,
    stage_min_steps=50,
    stage_max_steps=300,
    burn_in=(16, 64),
    burn_in_max_steps=400,
    burn_in_share=0.75,
    compile_step=True,
    ema_decay=0.99,
    keep_stages=False,
    log_every=25,
    validate_every=500,
    validation_segments=(3, 32),
    validation_samples=128,
)


def pretrained(name: str, seed: int, *, lora: bool = False) -> MemoryTaskSettings:
    """Returns the training of a task, or of all, with all weights or with LoRA.

    Args:
        name: ``qa1`` to ``qa5``, or ``all``.
        seed: of the training.
        lora: freeze the backbone; a checkpoint is then 10 MB in place of 270.
    """
    stories = QAS if name == "all" else (name,)
    stateful = bool(set(stories) & set(STATEFUL))
    settings = replace(
        _ALL_WEIGHTS,
        seed=seed,
        task_options={"stories": ",".join(stories)} | ({"ask_state": True} if stateful else {}),
        closing_questions=CLOSING if stateful else 0,
    )
    return replace(settings, lora_rank=LORA_RANK, learning_rate=LORA_RATE) if lora else settings
