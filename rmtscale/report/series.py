"""Records to series, and series to groups that may stand on one axis.

A series is one way of running one model, at several lengths. Series may share an axis if nothing
but the method and its switches differs (segment size, attention, recomputation, BPTT depth ...):
machine, versions, model, mode, dtype, batch and memory limit are the group's. Whatever is in a
file, it is split into groups; a group of two settings cannot be made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rmtscale.errors import BadInput
from rmtscale.records.point import Point
from rmtscale.records.record import Record
from rmtscale.report.noise import pair_noise
from rmtscale.report.predictions import Span
from rmtscale.report.quantities import MEMORY, TIME, Quantity
from rmtscale.specs.model import ModelSpec
from rmtscale.units import format_bytes

MODES = {"forward": "inference", "train": "training"}


@dataclass(frozen=True, slots=True)
class Setting:
    """The settings that all points of one axis share."""

    run: str
    """The file, where two files hold the same points of the same machine; else empty."""
    machine: str
    torch: str | None
    model: ModelSpec
    mode: str
    dtype: str
    batch_size: int
    optimizer: str | None
    dropout: bool
    device: str
    memory_limit_bytes: int | None
    checkpoint: str | None

    def words(self) -> dict[str, str]:
        """Returns each part as a reader needs it; parts that say nothing are empty."""
        train = self.mode == "train"
        limit = self.memory_limit_bytes
        return {
            "model": self.model.name,
            "mode": MODES[self.mode],
            "dtype": self.dtype,
            "batch": f"batch size {self.batch_size}",
            "optimizer": self.optimizer or "",
            "dropout": ("dropout" if self.dropout else "no dropout") if train else "",
            "limit": f"capped at {format_bytes(limit)}" if limit else "",
            "weights": f"weights of {self.checkpoint}" if self.checkpoint else "",
            "machine": self.machine,
            "torch": f"torch {self.torch}" if self.torch else "",
            "run": self.run,
        }

    def title(self) -> str:
        """Returns all: ``gpt2, training, fp32, batch size 1, adamw, dropout; NVIDIA H200``."""
        words = self.words()
        place = [words.pop(key) for key in ("machine", "torch", "run")]
        machine = ", ".join(filter(None, place))
        return f"{', '.join(filter(None, words.values()))}; {machine}"


@dataclass(frozen=True, slots=True)
class Series:
    """One way of running one model: its points by length, each measured once."""

    setting: Setting
    label: str
    """Short, for pictures and tables: ``RMT 500``, ``full, sdpa``."""
    method: str
    records: tuple[Record, ...]

    @property
    def point(self) -> Point:
        """One of its points: they differ in their length only."""
        return self.records[0].point

    def values(self, quantity: Quantity) -> dict[int, float]:
        """Returns the known values by length."""
        values = {record.point.tokens: quantity.read(record) for record in self.records}
        return {tokens: value for tokens, value in values.items() if value is not None}

    def predicted(self, quantity: Quantity) -> dict[int, Span]:
        """Returns what is predicted today by length, also for points that failed."""
        if quantity.predicted is None:
            return {}
        values = {record.point.tokens: quantity.predicted(record) for record in self.records}
        return {tokens: value for tokens, value in values.items() if value is not None}

    def outcomes(self) -> dict[int, str]:
        """Returns the outcome by length: ``ok``, or how the point failed."""
        return {record.point.tokens: record.measured.outcome for record in self.records}

    def at(self, tokens: int) -> Record:
        """Returns the record of one length."""
        return next(record for record in self.records if record.point.tokens == tokens)


@dataclass(frozen=True, slots=True)
class Group:
    """Series that may share an axis.

    Raises:
        BadInput: one of them belongs to another setting.
    """

    setting: Setting
    series: tuple[Series, ...]
    name: str = ""
    """A name that tells this group from the others of the report."""
    noise: tuple[tuple[str, float], ...] = ()
    """The distance between the halves of an A/A pair on this machine, by quantity."""

    def __post_init__(self) -> None:
        for series in self.series:
            if series.setting != self.setting:
                raise BadInput(
                    f"series {series.label!r} of {series.setting.title()!r}: cannot share an axis "
                    f"with {self.setting.title()!r}"
                )

    def of(self, method: str) -> list[Series]:
        """Series of one method, in their order."""
        return [series for series in self.series if series.method == method]

    def lengths(self) -> list[int]:
        """Returns all lengths that were asked for."""
        return sorted({record.point.tokens for series in self.series for record in series.records})

    def where(self) -> str:
        """Returns the name and the machine, each once."""
        machine = self.setting.machine
        return self.name if machine in self.name else f"{self.name} on {machine}"

    def noise_of(self, quantity: Quantity) -> float:
        """Returns the noise of a quantity; 0 where no A/A pair was measured."""
        return dict(self.noise).get(quantity.name, 0.0)

    def labels(self) -> list[str]:
        """Returns the names of its series."""
        return [series.label for series in self.series]

    def measured(self) -> bool:
        """Whether anything of it was measured to its end."""
        return any("ok" in series.outcomes().values() for series in self.series)

    def limit_bytes(self) -> int | None:
        """Returns the memory limit of a point: the cap it ran under, else the GPU's memory."""
        if self.setting.memory_limit_bytes is not None:
            return self.setting.memory_limit_bytes
        sizes = {
            record.measured.environment.gpu_memory_bytes
            for series in self.series
            for record in series.records
        } - {None}
        return min(size for size in sizes if size) if sizes else None


def latest(records: Iterable[Record]) -> list[Record]:
    """Returns each point's last record on each machine; later records replace earlier ones."""
    records = list(records)
    machines = _machines(records)
    return list({(record.point.key, machines[id(record)]): record for record in records}.values())


def group_runs(runs: Mapping[str, Sequence[Record]]) -> list[Group]:
    """Returns the groups of several files: put together, unless two hold the same points."""
    keys: Counter[tuple[str, object]] = Counter()
    for records in runs.values():
        machines = _machines(records)
        keys.update({(record.point.key, machines[id(record)]) for record in records})
    if max(keys.values(), default=0) <= 1:
        return group_records([record for records in runs.values() for record in records])
    groups = [group_records(records, name) for name, records in runs.items()]
    settings = [part.setting for group in groups for part in group]
    names, labels = _names(settings), _relabelled(groups)
    renamed = [
        replace(
            part,
            name=names[part.setting],
            series=tuple(replace(each, label=labels[each.point.series]) for each in part.series),
        )
        for group in groups
        for part in group
    ]
    return sorted(renamed, key=_points)


def group_records(records: Iterable[Record], run: str = "") -> list[Group]:
    """Returns the groups of a file, those with the most points first; A/A repetitions left out."""
    all_records = latest(records)
    machines = _machines(all_records)
    single = [record for record in all_records if not record.point.replicate]
    labels = _labels([record.point for record in single])
    by_setting: dict[Setting, dict[str, list[Record]]] = {}
    for record in single:
        setting = _setting(record.point, *machines[id(record)], run)
        by_setting.setdefault(setting, {}).setdefault(record.point.series, []).append(record)
    groups = []
    names = _names(list(by_setting))
    noise = _noise(all_records, machines)
    for setting, by_series in by_setting.items():
        series = [
            Series(
                setting,
                labels[key],
                members[0].point.method,
                tuple(sorted(members, key=lambda record: record.point.tokens)),
            )
            for key, members in by_series.items()
        ]
        series.sort(key=lambda each: _order(each.point))
        groups.append(Group(setting, tuple(series), names[setting], noise(setting)))
    return sorted(groups, key=_points)


def _points(group: Group) -> int:
    return -sum(len(series.records) for series in group.series)


def _relabelled(groups: Sequence[Sequence[Group]]) -> dict[str, str]:
    return _labels(
        [series.records[0].point for group in groups for part in group for series in part.series]
    )


def _noise(
    records: Sequence[Record], machines: Mapping[int, tuple[str, str | None]]
) -> Callable[[Setting], tuple[tuple[str, float], ...]]:
    """Measures noise by A/A pairs: of the same model, mode and dtype, else of the whole machine."""
    by_place: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        point, machine = record.point, machines[id(record)]
        for place in (machine, (*machine, point.model.name, point.mode, point.precision)):
            by_place.setdefault(place, []).append(record)

    def of(setting: Setting) -> tuple[tuple[str, float], ...]:
        machine = (setting.machine, setting.torch)
        narrow = (*machine, setting.model.name, setting.mode, setting.dtype)
        shares = []
        for quantity in (TIME, MEMORY):
            here = pair_noise(by_place.get(narrow, ()), quantity)
            here = pair_noise(by_place.get(machine, ()), quantity) if here is None else here
            if here is not None:
                shares.append((quantity.name, here))
        return tuple(shares)

    return of


def _setting(point: Point, machine: str, torch: str | None, run: str) -> Setting:
    return Setting(
        run=run,
        machine=machine,
        torch=torch,
        model=point.model,
        mode=point.mode,
        dtype=point.precision,
        batch_size=point.batch_size,
        optimizer=point.optimizer,
        dropout=point.dropout,
        device=point.device,
        memory_limit_bytes=point.memory_limit_bytes,
        checkpoint=point.checkpoint,
    )


def _machines(records: Sequence[Record]) -> dict[int, tuple[str, str | None]]:
    """``(machine, torch)`` of each record, by its identity.

    The parent of a process that was killed, or never begun, knows of no GPU: such a point is of
    the one GPU that others of the same host were measured on.
    """
    seen: dict[str, Counter[str]] = {}
    for record in records:
        gpu = record.measured.environment.gpu
        if gpu is not None:
            seen.setdefault(record.measured.environment.processor, Counter())[gpu] += 1
    machines = {}
    for record in records:
        here = record.measured.environment
        name = here.processor
        if record.point.device == "cuda":
            others = list(seen.get(here.processor, ()))
            name = here.gpu or (others[0] if len(others) == 1 else f"a GPU beside {name}")
        machines[id(record)] = (name, here.packages.get("torch"))
    return machines


def _traits(point: Point) -> dict[str, str]:
    """Returns the traits that tell series of one method apart, in the order of their names."""
    segments, attention = point.bptt_segments, point.attention
    graphs = point.method == "rmt" and point.mode == "forward" and point.device == "cuda"
    return {
        "memory": f"{point.memory_tokens} memory tokens",
        "attention": attention,
        "logits": f"{point.logits} logits" if point.logits and point.method == "full" else "",
        "bptt": "full BPTT" if segments is None else f"BPTT {segments}",
        "segments": "checkpoints" if point.checkpoint_segments else "no checkpoints",
        "layers": "layer checkpoints" if point.checkpoint_layers else "no layer checkpoints",
        "graph": "CUDA graph" if point.cuda_graph else "no graph" if graphs else "",
        "capture": "captured" if point.capture else "not captured",
        "compiled": "compiled" if point.compile_step else "not compiled",
    }


_QUIET = {"", "full BPTT", "no checkpoints", "no layer checkpoints", "not captured", "not compiled"}
"""The plain case, or none at all: not said."""


def _labels(points: Sequence[Point]) -> dict[str, str]:
    """A short name of each series: only what differs among those it stands beside is said.

    Those are the series of the same method, model and mode, whatever their dtype.
    """

    def beside(point: Point) -> tuple[str, str, str]:
        return point.method, point.model.name, point.mode

    by_series = {point.series: point for point in points}
    varied: dict[tuple[tuple[str, str, str], str], set[str]] = {}
    for point in by_series.values():
        for name, words in _traits(point).items():
            varied.setdefault((beside(point), name), set()).add(words)
    labels = {}
    for key, point in by_series.items():
        parts = ["full" if point.method == "full" else f"RMT {point.segment_size}"]
        for name, words in _traits(point).items():
            if len(varied[beside(point), name] - {""}) > 1 and words not in _QUIET:
                parts.append(words)
        labels[key] = ", ".join(parts)
    return labels


def _names(settings: Sequence[Setting]) -> dict[Setting, str]:
    """Names groups by the settings that differ; mode and dtype are always named."""
    words = {setting: setting.words() for setting in settings}
    varied: dict[str, dict[str, set[str]]] = {}
    for parts in words.values():
        for key, text in parts.items():
            varied.setdefault(parts["mode"], {}).setdefault(key, set()).add(text)
            varied.setdefault("", {}).setdefault(key, set()).add(text)
    return {
        setting: ", ".join(
            text
            for key, text in parts.items()
            if text
            and (
                key in ("model", "mode", "dtype")
                or len(varied["" if key in ("machine", "torch", "run") else parts["mode"]][key]) > 1
            )
        )
        for setting, parts in words.items()
    }


def _order(point: Point) -> tuple[object, ...]:
    return (point.method, point.segment_size or 0, tuple(_traits(point).values()))
