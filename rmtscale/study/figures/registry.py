"""Every figure: the one list that commands, ``make figures``, tests and documentation read."""

from __future__ import annotations

from dataclasses import replace

from rmtscale.records.store import RecordStore
from rmtscale.study.figures.figure import Figure, Kind
from rmtscale.study.records.babilong import BabilongStore
from rmtscale.study.records.evaluation import EvaluationStore
from rmtscale.study.records.language import LanguageStore

ANALYTIC = Kind(title="formulas alone")
MEASURED = Kind(title="measurements, the committed ones or yours", store=RecordStore)
MEMORY_TASKS = Kind(
    title="trainings on memory tasks, or their records",
    store=EvaluationStore,
    trainings="memory-tasks",
    background=True,
)
ATTENTION = replace(
    MEMORY_TASKS,
    title="a training on a memory task, or its checkpoint",
    store=None,
    checkpoint=True,
)
EVALUATED = Kind(
    title="evaluations of committed checkpoints, the committed ones or yours",
    store=EvaluationStore,
)
BABILONG = Kind(title="evaluations on BABILong, yours", store=BabilongStore)
LANGUAGE = Kind(
    title="trainings on text, or their records",
    store=LanguageStore,
    trainings="language",
    texts=True,
    equal_steps=True,
)
PRETRAINED = replace(
    LANGUAGE,
    title="trainings of a pretrained decoder on text, or their records",
    pretrained=True,
)

FIGURES = {
    figure.name: figure
    for figure in (
        Figure(
            "figure-2",
            "Figure 2: what a long input costs, full attention against RMT",
            ANALYTIC,
        ),
        Figure("figure-4", "Figure 4: trained on few segments, read on many", MEMORY_TASKS),
        Figure("figure-5", "Figure 5: what is remembered after two million tokens", MEMORY_TASKS),
        Figure("figure-6", "Figure 6: what memory and answer look at", ATTENTION),
        Figure("figure-7", "Figure 7: what reading more segments brings", LANGUAGE),
        Figure(
            "figure-8",
            "Figure 8: where in the block memory helps, and at what cost",
            LANGUAGE,
        ),
        Figure("figure-9", "Figure 9: proofs after their lemmas", LANGUAGE),
        Figure(
            "figure-10",
            "Figure 10: what a training step takes, full attention against RMT",
            MEASURED,
        ),
        Figure("figure-11", "Figure 11: with a curriculum and without", MEMORY_TASKS),
        Figure(
            "figure-12",
            "Figure 12: fixed lengths in training against mixed ones",
            LANGUAGE,
        ),
        Figure(
            "table-1",
            "Table 1: parameter-efficient training, with memory and without",
            LANGUAGE,
        ),
        Figure(
            "pretrained-decoder",
            "A pretrained decoder: what memory brings a real language model",
            PRETRAINED,
        ),
        Figure("dead-band", "A dead band on the memory at inference", EVALUATED),
        Figure("babilong", "BABILong: stories in prose, to ten million tokens", BABILONG),
        Figure("field", "The field: ways to a long input on one backbone", ANALYTIC),
        Figure("published", "Many GPUs: predicted against published", ANALYTIC),
    )
}
"""The figures by name, in the order they are offered."""
