"""The content of a report, before any format: groups, verdicts, tables, sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rmtscale.errors import BadInput
from rmtscale.records.environment import Environment
from rmtscale.records.record import Record
from rmtscale.records.store import Reading, RecordStore
from rmtscale.report.claims import Claim
from rmtscale.report.compare import Comparison, compare
from rmtscale.report.gallery import MOST_PANELS
from rmtscale.report.measured import noise
from rmtscale.report.predictions import peak_before, peak_now
from rmtscale.report.quantities import MEMORY
from rmtscale.report.repeat import commands
from rmtscale.report.series import Group, group_runs
from rmtscale.report.tables import (
    Cell,
    Table,
    comparison_table,
    ends_table,
    exponents_table,
    points_table,
    provenance_table,
    unequal_table,
    verdict_table,
)
from rmtscale.report.verdict import Verdict, judge
from rmtscale.units import format_bytes, format_percent, format_tokens

CONVENTIONS = (
    ("tokens", "text tokens of the whole input, per sequence"),
    ("segment size", "what the backbone sees in one recurrent step, memory tokens included"),
    ("full", "full attention: one pass over everything; RMT N: segments of size N"),
    ("inference, training", "a forward pass; forward, backward and optimizer step"),
    (
        "memory",
        "on a GPU the peak of allocated tensors during one step; on a CPU the peak of resident "
        "memory above the process's start, which is no allocator's peak and is not held against "
        "the predicted one; never mixed, and neither is what the driver reports",
    ),
    (
        "step",
        "median of the timed steps, by CUDA events on a GPU and by the host's clock on a CPU; "
        "IQR: interquartile range",
    ),
    (
        "predicted",
        "by the formulas of today; what they said before the point was measured is kept in the "
        "record, and shown beside it where it reads otherwise. A time is a range; older records "
        "kept a roofline, which is at least so long",
    ),
    ("FLOPs", "convention matmul: what the real modules multiply; a multiply-add is two"),
    (
        "ceiling",
        "FLOP/s of the step over those of one large matmul, same dtype and process; without the "
        "half of attention's square that a fused causal kernel skips",
    ),
    ("bytes", "IEC, powers of two; tokens and FLOPs: SI, powers of ten"),
    ("A/A", "the same point measured twice: what a difference is by chance"),
)


@dataclass(frozen=True, slots=True)
class Source:
    """A file of records that was read."""

    name: str
    reading: Reading[Record]


@dataclass(frozen=True, slots=True)
class Document:
    """A report, ready to be written in any format."""

    title: str
    sources: tuple[Source, ...]
    groups: tuple[Group, ...]
    verdicts: tuple[Verdict, ...]
    tables: tuple[Table, ...]
    """Those of a page, in their order."""
    remarks: tuple[str, ...]
    """Remarks on missing or mixed points, torn lines, settings that are not drawn, and noise."""
    repeat: tuple[str, ...]
    """Commands that measure it again."""
    claims: tuple[Claim, ...] = ()
    differences: tuple[str, ...] = ()
    """Differences from the paper, and their reasons."""
    comparison: Comparison | None = None

    @property
    def records(self) -> list[Record]:
        return [record for source in self.sources for record in source.reading.records]


def read_source(path: Path) -> Source:
    """Reads a file of records.

    Raises:
        BadInput: it is not there, or cannot be read.
    """
    if not path.exists():
        raise BadInput(f"records {str(path)!r}: no such file; 'rmtscale profile --out' makes one")
    return Source(path.name, RecordStore(path).read())


def make_document(
    sources: Sequence[Source],
    title: str | None = None,
    claims: Sequence[Claim] = (),
    differences: Sequence[str] = (),
    *,
    compared: bool = True,
) -> Document:
    """Reads nothing and draws nothing: works out everything that is said.

    Two sources are compared point by point, unless ``compared`` is False or they have no point in
    common: then they are parts of one sweep.

    Raises:
        BadInput: none of the files holds a record.
    """
    sources = _told_apart(sources)
    records = [record for source in sources for record in source.reading.records]
    if not records:
        names = ", ".join(repr(source.name) for source in sources)
        raise BadInput(f"records {names}: hold none, expected what 'rmtscale profile' writes")
    groups = group_runs({source.name: source.reading.records for source in sources})
    verdicts = [judge(group) for group in groups]
    environment_of, environments = _environments(records)
    origins = {id(record): source.name for source in sources for record in source.reading.records}
    comparison = None
    tables = [
        verdict_table(verdicts),
        unequal_table(verdicts),
        ends_table(verdicts),
        points_table(groups),
        exponents_table(groups),
        provenance_table(groups, environment_of, origins),
        _environment_table(environments),
    ]
    if len(sources) == 2 and compared:
        comparison = compare(*(source.reading.records for source in sources))
        comparison = comparison if comparison.pairs else None
    if comparison is not None:
        tables.insert(0, comparison_table(comparison, (sources[0].name, sources[1].name)))
    return Document(
        title=title or _title(groups),
        sources=tuple(sources),
        groups=tuple(groups),
        verdicts=tuple(verdicts),
        tables=tuple(table for table in tables if table.rows),
        remarks=tuple(_remarks(sources, groups, records)),
        repeat=tuple(line for group in groups for line in commands(group, "again.jsonl")),
        claims=tuple(claims),
        differences=tuple(differences),
        comparison=comparison,
    )


def _told_apart(sources: Sequence[Source]) -> list[Source]:
    """Two files may have one name in two folders."""
    named: list[Source] = []
    for source in sources:
        same = sum(
            other.reading is not source.reading and other.name == source.name for other in sources
        )
        place = f"{source.name} ({len(named) + 1})" if same else source.name
        named.append(replace(source, name=place))
    return named


def _title(groups: Sequence[Group]) -> str:
    models = " and ".join(dict.fromkeys(group.setting.model.name for group in groups))
    machines = " and ".join(dict.fromkeys(group.setting.machine for group in groups))
    return f"Full attention or RMT: {models} on {machines}"


def _remarks(
    sources: Sequence[Source], groups: Sequence[Group], records: Sequence[Record]
) -> list[str]:
    remarks = [
        f"{source.name}: {warning}." for source in sources for warning in source.reading.warnings()
    ]
    machines = dict.fromkeys((group.setting.machine, group.setting.torch) for group in groups)
    if len(machines) > 1:
        named = "; ".join(f"{name}, torch {torch or 'not known'}" for name, torch in machines)
        remarks.append(f"{len(machines)} machines or versions, never on one axis: {named}.")
    undrawn = [group.name for group in groups if group.measured()][MOST_PANELS:]
    if undrawn:
        remarks.append(
            f"Drawn: the {MOST_PANELS} settings with the most points; in the tables only: "
            f"{'; '.join(undrawn)}."
        )
    remarks += _predicted_otherwise(records)
    if any(record.point.device == "cpu" for record in records):
        remarks.append(
            "On a CPU resident memory is measured: tensors, and what the allocator and the "
            "libraries keep besides. That is no allocator's peak, which is what is predicted, so "
            "no error is shown."
        )
    single = [
        f"{series.label} ({group.name})"
        for group in groups
        for series in group.series
        if list(series.outcomes().values()).count("ok") == 1
    ]
    if single:
        remarks.append(f"One point only, from which nothing grows: {'; '.join(single)}.")
    for source in sources:
        remarks += noise(source.reading.records)
    unknown = {
        f"{field.replace('_', ' ')} ({why})"
        for record in records
        for field, why in record.measured.unknown.items()
    }
    remarks += [f"Not known: {reason}." for reason in sorted(unknown)]
    return remarks


def _predicted_otherwise(records: Sequence[Record]) -> list[str]:
    """Says by how much the formulas of today differ from those of before the measurement."""
    changes = [
        now.least / before.least - 1
        for record in records
        if (now := peak_now(record)) and (before := peak_before(record))
        if MEMORY.show_span(now) != MEMORY.show_span(before)
    ]
    if not changes:
        return []
    return [
        f"Memory of {len(changes)} of {len(records)} points is predicted otherwise today than "
        f"before they were measured, by {format_percent(min(changes), signed=True)} to "
        f"{format_percent(max(changes), signed=True)}; the table of points has both."
    ]


def _environments(records: Sequence[Record]) -> tuple[dict[int, str], dict[str, Environment]]:
    """A name for each environment that differs, clocks and temperatures left out."""
    names: dict[str, str] = {}
    by_name: dict[str, Environment] = {}
    by_record = {}
    for record in records:
        plain = replace(record.measured.environment, before=None, after=None)
        name = names.setdefault(repr(plain), f"E{len(names) + 1}")
        by_name[name] = plain
        by_record[id(record)] = name
    return by_record, by_name


def _environment_table(environments: dict[str, Environment]) -> Table:
    rows = []
    for name, environment in environments.items():
        size, threads = environment.gpu_memory_bytes, format_tokens(environment.processor_threads)
        rows.append(
            tuple(
                Cell(text)
                for text in (
                    name,
                    environment.gpu or "-",
                    "-" if size is None else format_bytes(size),
                    environment.driver or "-",
                    environment.cuda or "-",
                    f"{environment.processor}, {threads} threads",
                    environment.platform,
                    environment.python,
                    ", ".join(
                        f"{package} {version}" for package, version in environment.packages.items()
                    ),
                    environment.commit or "-",
                )
            )
        )
    columns = (
        "name",
        "GPU",
        "its memory",
        "driver",
        "CUDA",
        "processor",
        "platform",
        "Python",
        "packages",
        "commit of rmtscale",
    )
    note = "A point that was skipped or killed knows only of the host it was to run on."
    return Table("environments", "Environments", columns, tuple(rows), note)
