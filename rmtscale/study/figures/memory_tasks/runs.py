"""The records behind a figure of the memory tasks: read from a file, or trained and evaluated."""

from __future__ import annotations

from functools import partial

from rmtscale.errors import BadInput
from rmtscale.study.figures.evaluation_runs import (
    CheckpointEvaluation,
    as_options,
    evaluate_on_gpus,
)
from rmtscale.study.figures.figure import Figure, Sources
from rmtscale.study.figures.memory_tasks.plan import Plan, Trainings, plan
from rmtscale.study.figures.training_runs import TrainingSetup, require_trained
from rmtscale.study.records.dead_band import plain, without_sink
from rmtscale.study.records.evaluation import EvaluationRecord, EvaluationStore
from rmtscale.units import format_accuracy, format_tokens


def collect(
    figure: Figure, trainings: Trainings, sources: Sources
) -> tuple[Plan | None, list[EvaluationRecord]]:
    """Reads a file of records, or trains and evaluates what is missing.

    Returns:
        The plan of what was trained, None where records were given; and the records.

    Raises:
        BadInput: no such file, or nothing in it.
        CheckFailed: the time was up before all trainings were done.
    """
    if sources.records is not None:
        known = EvaluationStore(sources.records).read().latest().values()
        records = without_sink(plain(known))
        if not records:
            raise BadInput(
                f"records {str(sources.records)!r}: expected a file that 'rmtscale evaluate' wrote"
            )
        return None, records
    setup = sources.training
    assert setup is not None, "neither records nor a way to make them"
    planned = plan(trainings, quick=sources.quick, background=setup.background, seeds=sources.seeds)
    require_trained(planned.recipes, setup)
    store = EvaluationStore(setup.folder / f"{figure.name}.jsonl")
    return planned, evaluate_all(planned, trainings, setup, store)


def evaluate_all(
    planned: Plan, trainings: Trainings, setup: TrainingSetup, store: EvaluationStore
) -> list[EvaluationRecord]:
    """Evaluates the checkpoints of all trainings at all lengths.

    Args:
        planned: trainings, lengths, samples.
        trainings: names the checkpoints of each.
        setup: where they were trained.
        store: of the records; what is in it is not evaluated again.
    """
    from rmtscale.study.evaluation.evaluate import EvaluationSettings, evaluate
    from rmtscale.study.training.device import find_device
    from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint

    device = find_device(setup.device)
    options = as_options(
        {
            "samples": planned.samples,
            "long-samples": planned.long_samples,
            "batch-size": planned.batch_size,
            "background": setup.background,
        }
    )
    checkpoints = {
        f"{name} {label}": (settings, folder)
        for name, settings in planned.recipes.items()
        for label, folder in trainings.checkpoints(setup.folder / name).items()
    }
    evaluate_on_gpus(
        {
            name: CheckpointEvaluation(folder, planned.segments, options)
            for name, (_, folder) in checkpoints.items()
        },
        setup,
        store,
    )
    records: list[EvaluationRecord] = []
    for name, (settings, folder) in checkpoints.items():
        asked = EvaluationSettings(
            segments=planned.segments,
            samples=planned.samples,
            long_samples=planned.long_samples,
            batch_size=planned.batch_size,
            background=setup.background,
            precision="fp32" if device.type == "cpu" else settings.precision,
        )
        records += evaluate(
            load_checkpoint(folder, settings.task, settings.backbone),
            asked,
            store,
            device=device,
            observe=partial(_announce, setup, name),
        )
    return records


def _announce(setup: TrainingSetup, name: str, record: EvaluationRecord, known: bool) -> None:
    if not known:
        setup.announce(
            f"{name}, {format_tokens(record.point.segments)} segments: "
            f"{format_accuracy(record.accuracy)}"
        )
