"""Which trainings a figure of language shows, and what each is evaluated on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rmtscale.errors import BadInput, quoted_list
from rmtscale.study.figures.language.recipes import SEEDS, Recipes
from rmtscale.study.training.language.settings import (
    LANGUAGE_MODELING,
    LEMMA_PROOF,
    LanguageSettings,
)
from rmtscale.study.training.layout import LAST

READ = (1, 2, 4, 7, 8, 16, 28, 32)
"""Segments that a model is evaluated on: those trained on, four times as many, and on to 32."""
QUICK_READ = (1, 2, 3, 4, 8, 12, 32)
LEAN_READ = (1, 2, 3, 4, 6, 8, 12)
QUICK_LEAN_READ = (1, 2, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainings:
    """The trainings and evaluations that a figure shows."""

    full: Callable[[int], Recipes]
    """Makes its recipes of one seed; what another training begins with comes first."""
    quick: Callable[[], Recipes]
    """Makes its recipes at toy size."""
    read: tuple[int, ...] | None = None
    """Segments that models with memory are evaluated on; None is what Figure 7 shows."""
    quick_read: tuple[int, ...] | None = None
    """Segments at toy size."""
    task: str = LANGUAGE_MODELING
    variants: bool = False
    """Show memory with sink tokens and trainings on repeated text too, apart from the paper's."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The trainings of a figure, and how each is evaluated."""

    recipes: Recipes
    """In the order they are trained: what another begins with comes first."""
    read: dict[str, tuple[int, ...]]
    """Segments each is evaluated on; what others begin with is not evaluated."""
    history_tokens: dict[str, int | None]
    """Language modelling: text before each target; the same for what is compared."""
    samples: int
    """Targets at most."""
    batch_size: int


def plan(
    trainings: Trainings,
    *,
    quick: bool,
    texts: Mapping[str, str],
    runs: Path,
    seeds: tuple[int, ...] | None = None,
    backbone: str | None = None,
) -> Plan:
    """Plans the trainings and evaluations of a figure.

    Args:
        trainings: what it shows.
        quick: the toy size.
        texts: sources in the place of ``latex``, ``lean`` and ``prose``.
        runs: folder of the trainings, in which ``init_from`` is looked for.
        seeds: None is all there are.
        backbone: the pretrained weights, of recipes that name none.

    Raises:
        BadInput: a text that none of them reads or a seed that no recipe has, or a text or
            backbone that is missing.
    """
    if quick and (texts or seeds not in (None, (0,))):
        raise BadInput("--quick: expected neither --text nor other --seeds than 0")
    named = trainings.quick() if quick else _full(trainings, seeds or SEEDS)
    wanted = sorted({settings.text for settings in named.values()})
    for name, source in texts.items():
        if name not in wanted:
            raise BadInput(
                f"--text {f'{name}={source}'!r}: expected "
                + quoted_list(f"{each}=SOURCE" for each in wanted)
            )
    planned = {name: _placed(settings, texts, runs, backbone) for name, settings in named.items()}
    begun_with = {settings.init_from for settings in named.values()}
    evaluated = {name: settings for name, settings in planned.items() if name not in begun_with}
    shown = trainings.quick_read if quick else trainings.read
    read = {
        name: shown
        if shown is not None and settings.memory_tokens
        else _read(settings, quick=quick)
        for name, settings in evaluated.items()
    }
    history = {
        name: _history_tokens(settings, evaluated, read) for name, settings in evaluated.items()
    }
    samples, batch_size = (64, 32) if quick else (2048, 256)
    return Plan(planned, read, history, samples, batch_size)


def _full(trainings: Trainings, seeds: tuple[int, ...]) -> Recipes:
    named: Recipes = {}
    for seed in seeds:
        if seed not in SEEDS:
            raise BadInput(f"seed {seed}: expected {quoted_list(SEEDS)}")
        named |= trainings.full(seed)
    return named


def _placed(
    settings: LanguageSettings, texts: Mapping[str, str], runs: Path, backbone: str | None
) -> LanguageSettings:
    """Puts paths in the place of the names of its text, backbone and what it begins with."""
    source = texts.get(settings.text)
    if source is None and settings.text != "python":
        raise BadInput(
            f"no text in the place of {settings.text!r}: expected --text {settings.text}=SOURCE"
        )
    start = None if settings.init_from is None else str(runs / settings.init_from / LAST)
    weights = settings.backbone or backbone
    if not weights:
        raise BadInput("no pretrained backbone: expected --backbone with a folder of its weights")
    return replace(settings, text=source or settings.text, init_from=start, backbone=weights)


def _history_tokens(
    settings: LanguageSettings, evaluated: Recipes, read: Mapping[str, tuple[int, ...]]
) -> int | None:
    """Returns the history of the longest reading: what is compared has the same targets."""
    if settings.task == LEMMA_PROOF:
        return None
    block = settings.scored_tokens
    return max(
        max(read[name]) * other.segment_tokens - block
        for name, other in evaluated.items()
        if other.scored_tokens == block
    )


def _read(settings: LanguageSettings, *, quick: bool) -> tuple[int, ...]:
    if settings.task == LEMMA_PROOF and settings.segments > 1:
        return QUICK_LEAN_READ if quick else LEAN_READ
    if not settings.memory_tokens:
        return (1,)
    if settings.adapted:
        return (1, 2)
    return QUICK_READ if quick else READ
