"""One question of the page, answered by the code of ``rmtscale estimate``, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rmtscale import api
from rmtscale.costs.breakdown import Term
from rmtscale.costs.estimate import Estimate
from rmtscale.costs.layouts.answer import ClusterAnswer, answer_cluster
from rmtscale.costs.layouts.search import Search
from rmtscale.costs.layouts.segment import recommend_cluster_segment
from rmtscale.costs.segment_choice import AUTO
from rmtscale.costs.time.constants_file import known_constants
from rmtscale.errors import BadInput
from rmtscale.readers import parse_config
from rmtscale.specs import current
from rmtscale.specs.catalog import PRESETS, unknown_model
from rmtscale.specs.cluster import Cluster
from rmtscale.specs.devices import DEVICES, find_device
from rmtscale.specs.huggingface import from_config, resolve_model
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Mode, Workload
from rmtscale.units import (
    format_bytes,
    format_flops,
    format_seconds_range,
    format_tokens,
    parse_size,
    require_one_of,
)

MODES = {"train": "a training step", "prefill": "reading a prompt"}
MEMORY_TOKENS = 10
MOST_GPUS = 4096
GPUS_PER_NODE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The settings of the page."""

    model: ModelSpec
    device: str
    gpus: int
    tokens: int
    segment_size: int | None
    """None: the recommended one."""
    precision: str
    mode: str

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Asked:
        """Reads what the page sent: text under the names of the options.

        Raises:
            BadInput: a value that is missing, not known or cannot be.
        """
        texts = {name: str(values.get(name) or "") for name in _NAMES}
        require_one_of("mode", texts["mode"], tuple(MODES))
        gpus = parse_size(texts["gpus"], "gpus")
        if not 1 <= gpus <= MOST_GPUS:
            raise BadInput(f"gpus {gpus}: expected 1 to {MOST_GPUS}")
        segment = texts["segment_size"] or AUTO
        return cls(
            model=_model(texts["model"], texts["config"]),
            device=find_device(texts["device"]).name,
            gpus=gpus,
            tokens=parse_size(texts["tokens"]),
            segment_size=None if segment == AUTO else parse_size(segment, "segment size"),
            precision=texts["precision"],
            mode=texts["mode"],
        )


_NAMES = ("model", "config", "device", "gpus", "tokens", "segment_size", "precision", "mode")


def preset(name: str) -> ModelSpec:
    """Returns the shape of a preset; never that of a file or of a hub's model.

    Raises:
        BadInput: there is no preset of that name.
    """
    if name not in (*PRESETS, *current.PRESETS):
        raise unknown_model(name)
    return resolve_model(name)


def _model(name: str, config: str) -> ModelSpec:
    """A preset, or what a dropped ``config.json`` says; never a path of this machine."""
    if not config:
        return preset(name)
    fields = parse_config(config, "config.json")
    if not isinstance(fields, dict):
        raise BadInput(f"config.json: a {type(fields).__name__}, expected an object")
    return from_config(fields, "config.json")


def reply(asked: Asked) -> dict[str, Any]:
    """Answers a question with the words and numbers that the commands print.

    Returns:
        ``verdict``, ``question``, ``notes``, and ``ways``: for each its title, whether it fits,
        memory, time and FLOPs in words, bytes, and its terms of memory, the largest first.

    Raises:
        BadInput: a precision that the device does not have, a segment or a layout that cannot be.
    """
    return _alone(asked) if asked.gpus == 1 else _together(asked)


def _alone(asked: Asked) -> dict[str, Any]:
    found = api.estimate(
        asked.model,
        asked.device,
        asked.tokens,
        mode=asked.mode,
        segment_size=asked.segment_size or AUTO,
        memory_tokens=MEMORY_TOKENS,
        precision=asked.precision,
    )
    _, rows = found.cells()
    ways = [
        _way(title, fits == "yes", way.peak.terms, way.peak.total, time, flops)
        for way, (title, _, fits, time, flops) in zip(found.ways, rows, strict=True)
    ]
    return {
        "verdict": found.verdict,
        "question": _question(asked, found.question.device.title),
        "usable_bytes": found.question.device.usable_memory_bytes,
        "usable": format_bytes(found.question.device.usable_memory_bytes),
        "ways": ways,
        "notes": _notes(found),
    }


def _notes(found: Estimate) -> list[str]:
    notes = [f"No RMT: {found.no_rmt}."] if found.no_rmt else []
    if found.segment_reason:
        notes.append(f"Segment size: {found.segment_reason}.")
    if not found.no_rmt:
        notes.append("An RMT has to be trained before it remembers anything.")
    return notes


def _together(asked: Asked) -> dict[str, Any]:
    device = DEVICES[asked.device]
    mode: Mode = "train" if asked.mode == "train" else "forward"
    work = Workload(
        tokens=asked.tokens, mode=mode, precision=asked.precision, cache=mode == "forward"
    )
    constants = known_constants(device)
    cluster = Cluster.of(device, asked.gpus, GPUS_PER_NODE, "", constants.links)
    if asked.segment_size is None:
        recurrence, reason = recommend_cluster_segment(
            asked.model, work, cluster, MEMORY_TOKENS, "auto", constants
        )
    else:
        recurrence, reason = Recurrence(asked.segment_size, MEMORY_TOKENS), ""
    found = answer_cluster(asked.model, work, cluster, recurrence, "auto", constants)
    return {
        "verdict": found.words,
        "question": _question(asked, cluster.title()),
        "usable_bytes": device.usable_memory_bytes,
        "usable": format_bytes(device.usable_memory_bytes),
        "ways": [_best(found, search) for search in (found.full, found.rmt)],
        "notes": [f"Segment size: {reason}."] if reason else [],
    }


def _best(found: ClusterAnswer, search: Search) -> dict[str, Any]:
    """The fastest layout of one way: bytes of a GPU, seconds of a step, FLOPs of all GPUs."""
    flops = api.estimate_flops(found.model, found.workload, search.recurrence, "matmul").total
    best = search.best
    if best is None:
        return _way(search.title, False, (), search.least_bytes, "-", format_flops(flops))
    return _way(
        f"{search.title}, {best.layout.name}",
        True,
        best.memory.terms,
        best.memory.total,
        format_seconds_range(*best.time.range),
        format_flops(flops),
    )


def _way(
    title: str, fits: bool, terms: Sequence[Term], total_bytes: int, time: str, flops: str
) -> dict[str, Any]:
    amounts: dict[str, int] = {}
    for term in terms:
        if term.amount:
            name = str(term.name).replace("_", " ")
            amounts[name] = amounts.get(name, 0) + term.amount
    return {
        "title": title,
        "fits": fits,
        "bytes": total_bytes,
        "memory": format_bytes(total_bytes),
        "time": time,
        "flops": flops,
        "terms": [
            {"name": name, "bytes": amount, "words": format_bytes(amount)}
            for name, amount in sorted(amounts.items(), key=lambda term: -term[1])
        ],
    }


def _question(asked: Asked, where: str) -> str:
    what = f"{MODES[asked.mode]}, {format_tokens(asked.tokens)} tokens"
    return f"{asked.model.name} on {where}: {what}, batch size 1, {asked.precision}"
