"""The records behind a figure of language: read from a file, or trained and evaluated."""

from __future__ import annotations

from functools import partial

from rmtscale.errors import BadInput
from rmtscale.study.figures.evaluation_runs import (
    CheckpointEvaluation,
    as_options,
    evaluate_on_gpus,
)
from rmtscale.study.figures.figure import Figure, Sources
from rmtscale.study.figures.language.plan import Plan, Trainings, plan
from rmtscale.study.figures.training_runs import TrainingSetup, require_trained
from rmtscale.study.records.dead_band import plain
from rmtscale.study.records.language import LanguageRecord, LanguageStore
from rmtscale.study.training.language.settings import LanguageSettings
from rmtscale.study.training.layout import CACHE, LAST
from rmtscale.units import format_loss, format_tokens


def collect(figure: Figure, trainings: Trainings, sources: Sources) -> list[LanguageRecord]:
    """Reads a file of records, or trains and evaluates what is missing.

    Raises:
        BadInput: no such file, nothing in it, or records of another task.
        CheckFailed: the time was up before all trainings were done.
    """
    if sources.records is not None:
        records = plain(LanguageStore(sources.records).read().latest().values())
        if not trainings.variants:
            records = [record for record in records if record.as_in_paper]
        if not records:
            raise BadInput(
                f"records {str(sources.records)!r}: expected a file of evaluated language models"
            )
    else:
        records = train_and_evaluate(trainings, sources)
    others = sorted({record.point.task for record in records} - {trainings.task})
    if others:
        raise BadInput(
            f"task {others[0]!r} in the records of {figure.name}: expected {trainings.task}"
        )
    return records


def train_and_evaluate(trainings: Trainings, sources: Sources) -> list[LanguageRecord]:
    """Makes the records of a figure; goes on where an earlier call stopped.

    Figures that are drawn from the same trainings find each other's, in the folder of the runs.

    Raises:
        CheckFailed: the time was up before all trainings were done.
    """
    setup = sources.training
    assert setup is not None, "neither records nor a way to make them"
    planned = plan(
        trainings,
        quick=sources.quick,
        texts=setup.texts,
        runs=setup.folder,
        seeds=sources.seeds,
        backbone=setup.backbone,
    )
    require_trained(planned.recipes, setup)
    return evaluate_all(planned, setup)


def evaluate_all(planned: Plan, setup: TrainingSetup) -> list[LanguageRecord]:
    """Evaluates the last checkpoint of each training; what was evaluated before is read."""
    from rmtscale.study.evaluation.language import LanguageEvaluation, evaluate_language
    from rmtscale.study.training.device import find_device
    from rmtscale.study.training.language.checkpoint import load_language_checkpoint

    device = find_device(setup.device)
    store = LanguageStore(setup.folder / "evaluation.jsonl")
    evaluations = {name: _evaluation(planned, name, setup) for name in planned.read}
    evaluate_on_gpus(evaluations, setup, store)
    records: list[LanguageRecord] = []
    for name, segments in planned.read.items():
        settings = planned.recipes[name]
        evaluation = LanguageEvaluation(
            name=name,
            segments=segments,
            samples=planned.samples,
            history_tokens=planned.history_tokens[name],
            batch_size=planned.batch_size,
            text=settings.text,
            precision="fp32" if device.type == "cpu" else settings.precision,
        )
        records += evaluate_language(
            load_language_checkpoint(
                setup.folder / name / LAST, settings.task, _stands_on(settings)
            ),
            evaluation,
            store,
            device=device,
            cache=setup.folder / CACHE,
            observe=partial(_announce, setup, name),
        )
    return records


def _evaluation(planned: Plan, name: str, setup: TrainingSetup) -> CheckpointEvaluation:
    """Returns the same evaluation for a process of its own."""
    options = {
        "samples": planned.samples,
        "history": planned.history_tokens[name],
        "batch-size": planned.batch_size,
        "text": planned.recipes[name].text,
        "cache": setup.folder / CACHE,
        "backbone": _stands_on(planned.recipes[name]),
    }
    checkpoint = setup.folder / name / LAST
    return CheckpointEvaluation(checkpoint, planned.read[name], as_options(options))


def _stands_on(settings: LanguageSettings) -> str | None:
    """Returns the weights that a checkpoint of the trained part needs beside it."""
    return settings.backbone if settings.keeps_trained_part else None


def _announce(setup: TrainingSetup, name: str, record: LanguageRecord, known: bool) -> None:
    if not known:
        setup.announce(
            f"{name}, {format_tokens(record.point.segments)} segments: "
            + format_loss(record.whole.mean_nats)
        )
