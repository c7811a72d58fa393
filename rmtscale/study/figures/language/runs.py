"""Trains and evaluates what a language figure needs and is not there yet."""

from __future__ import annotations

from rmtscale.errors import CheckFailed
from rmtscale.study.figures.language.recipes import LanguagePlan, plan
from rmtscale.study.figures.training_runs import (
    Asked,
    How,
    as_options,
    evaluate_beside,
    train_all,
)
from rmtscale.study.records.language import LanguageRecord, LanguageStore
from rmtscale.study.training.layout import CACHE, LAST
from rmtscale.units import format_loss, format_tokens


def collect_language(
    figure: str, how: How, *, quick: bool, seeds: tuple[int, ...] | None
) -> list[LanguageRecord]:
    """The records of a figure; goes on where an earlier call stopped.

    Figures that are drawn from the same trainings find each other's, in the folder of the runs.

    Raises:
        CheckFailed: the time was up before all trainings were done.
    """
    wanted = plan(figure, quick=quick, texts=how.texts, runs=how.runs, seeds=seeds)
    left = train_all(wanted.recipes, how)
    if left:
        raise CheckFailed(
            f"time is up, {len(left)} of {len(wanted.recipes)} trainings are not done "
            f"({', '.join(left)}); the same command goes on"
        )
    return evaluate_language_plan(wanted, how)


def evaluate_language_plan(wanted: LanguagePlan, how: How) -> list[LanguageRecord]:
    """Evaluates every trained model of a plan; what is on file already is not read again."""
    from rmtscale.study.evaluation.language import LanguageEvaluation, evaluate_language
    from rmtscale.study.training.device import find_device
    from rmtscale.study.training.language.checkpoint import load_language_checkpoint

    device = find_device(how.device)
    store = LanguageStore(how.runs / "evaluation.jsonl")
    evaluate_beside({name: _asked(wanted, name, how) for name in wanted.read}, how, store)
    records: list[LanguageRecord] = []
    for name, segments in wanted.read.items():
        settings = wanted.recipes[name]

        def observe(record: LanguageRecord, known: bool, where: str = name) -> None:
            if not known:
                how.say(
                    f"{where}, {format_tokens(record.point.segments)} segments: "
                    f"{format_loss(record.whole.mean_nats)} nats"
                )

        asked = LanguageEvaluation(
            name=name,
            segments=segments,
            samples=wanted.samples,
            history_tokens=wanted.history_tokens[name],
            batch_size=wanted.batch_size,
            text=settings.text,
            precision="fp32" if device.type == "cpu" else settings.precision,
        )
        checkpoint = load_language_checkpoint(how.runs / name / LAST, settings.task)
        records += evaluate_language(
            checkpoint,
            asked,
            store,
            device=device,
            cache=how.runs / CACHE,
            observe=observe,
        )
    return records


def _asked(wanted: LanguagePlan, name: str, how: How) -> Asked:
    options = {
        "samples": wanted.samples,
        "history": wanted.history_tokens[name],
        "batch-size": wanted.batch_size,
        "text": wanted.recipes[name].text,
        "cache": how.runs / CACHE,
    }
    return Asked(how.runs / name / LAST, wanted.read[name], as_options(options))
