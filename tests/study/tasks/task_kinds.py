"""Every kind of task the tests look at: each task, each placement, with and without others."""

from __future__ import annotations

from rmtscale.study.tasks.catalog import make_task
from rmtscale.study.tasks.task import Task

KINDS: dict[str, Task] = {
    "memorize": make_task("memorize"),
    "memorize of three": make_task("memorize", persons=3),
    "detect": make_task("detect-memorize"),
    "detect among many": make_task("detect-memorize", persons=7, distractors=9),
    "detect at segment starts": make_task("detect-memorize", placement="segment-start", persons=2),
    "detect at a depth": make_task("detect-memorize", placement="depth:0.3", persons=2),
    "reasoning": make_task("reasoning"),
    "reasoning direct": make_task("reasoning", form="direct", split="validation"),
    "reasoning contrasts": make_task("reasoning", form="direct", contrast=True),
    "reasoning inverse": make_task("reasoning", form="inverse", distractors=1),
    "reasoning at a position": make_task("reasoning", distractors=2, placement="position:17"),
    "reasoning at the start": make_task("reasoning", placement="start"),
    "reasoning at segment starts": make_task("reasoning", placement="segment-start"),
}
