"""A folder of configs, one line each: what is read, and how it compares with the real modules.

The truth is a JSON object by file name: ``parameters`` of the real module and its ``class``, and
``matmul_flops_forward`` by length where those were counted. The class is then the one that the
truth was built from, whatever the config's ``architectures`` say.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rmtscale.cli import options
from rmtscale.cli.output import Row, write_line, write_rows, write_table, write_text
from rmtscale.cli.stored_weights import stored_dtype_bytes, stored_title
from rmtscale.costs.flops import estimate_flops
from rmtscale.costs.parameters import count_parameters
from rmtscale.costs.weights import weight_bytes
from rmtscale.errors import BadInput
from rmtscale.readers import read_json
from rmtscale.specs.huggingface import find_config, read_mapping
from rmtscale.specs.reading import NoRow
from rmtscale.specs.workload import Workload
from rmtscale.steps import steps
from rmtscale.units import format_count

Truth = Mapping[str, Mapping[str, Any]]


def write_folder(folder: Path, truth_path: Path | None, output_format: str) -> None:
    """Reads every config of a folder and prints one line of each.

    Raises:
        BadInput: no config in the folder, or a truth that is none.
    """
    truth = {} if truth_path is None else read_truth(truth_path)
    paths = sorted(
        path
        for path in folder.glob("*.json")
        if truth_path is None or path.resolve() != truth_path.resolve()
    )
    if not paths:
        raise BadInput(f"folder {str(folder)!r}: expected configs, files that end in .json")
    rows = [_row(path, truth.get(path.stem, {})) for path in steps(paths, "reading configs")]
    if output_format != "table":
        write_rows(rows, output_format)
        return
    write_table(
        ["file", "class or type", "parameters", "", "FLOPs"],
        [
            [
                row["file"],
                row["class"] or row["model_type"] or "",
                format_count(row["parameters"]) if row["parameters"] else "refused",
                _said(row["parameters_equal"]),
                f"{row['flops_equal']}/{row['flops_lengths']}" if row["flops_lengths"] else "",
            ]
            for row in rows
        ],
        text_columns=2,
    )
    for row in rows:
        if row["refused"]:
            write_text(f"{row['file']} is refused: {row['refused']}")
    write_line()
    for line in _summary(rows):
        write_line(line)


def _row(path: Path, truth: Mapping[str, Any]) -> Row:
    row: Row = {
        "file": path.stem,
        "model_type": None,
        "class": truth.get("class"),
        "counted": None,
        "parameters": None,
        "true_parameters": truth.get("parameters"),
        "parameters_equal": None,
        "weight_bytes": None,
        "weights": None,
        "flops_lengths": len(truth.get("matmul_flops_forward", {})),
        "flops_equal": 0,
        "not_counted": "",
        "refused": "",
    }
    lengths = {int(s): flops for s, flops in truth.get("matmul_flops_forward", {}).items()}
    try:
        config = find_config(str(path))
        row["model_type"] = str(config.get("model_type"))
        try:
            reading = read_mapping(config, path.stem, truth.get("class"))
            spec = reading.spec
            found: Row = {
                "class": reading.class_name,
                "counted": "closed form",
                "parameters": count_parameters(spec).total,
                "weight_bytes": weight_bytes(spec, stored_dtype_bytes(config)),
                "weights": stored_title(spec, config),
                "not_counted": "; ".join(reading.not_counted),
            }
            flops = {
                s: estimate_flops(spec, Workload(tokens=s), None, "matmul").total for s in lengths
            }
        except NoRow as refused:
            counted = options.counted_model(str(path), refused)
            found = {
                "class": counted.class_name,
                "counted": "real module",
                "parameters": counted.parameters,
                "not_counted": "; ".join(counted.not_counted),
            }
            flops = {s: counted.flops(s) for s in lengths}
    except BadInput as refused:
        return row | {"refused": str(refused).partition(": ")[2]}
    row |= found
    if row["true_parameters"] is not None:
        row["parameters_equal"] = row["parameters"] == row["true_parameters"]
    row["flops_equal"] = sum(flops[s] == lengths[s] for s in lengths)
    return row


def _summary(rows: list[Row]) -> list[str]:
    read = [row for row in rows if row["parameters"] is not None]
    known = [row for row in rows if row["true_parameters"] is not None]
    counted = [row for row in rows if row["flops_lengths"]]
    lines = [f"read: {len(read)} of {len(rows)} files"]
    if known:
        exact = sum(row["parameters_equal"] is True for row in known)
        there = sum(row["parameters"] is not None for row in known)
        lines += [
            f"of {len(known)} whose parameters are known {there} are read, {exact} exactly",
            f"of {len(counted)} whose FLOPs are known "
            f"{sum(row['flops_equal'] == row['flops_lengths'] for row in counted)} are exact at "
            "every length",
        ]
    return lines


def _said(equal: bool | None) -> str:
    return "" if equal is None else "equal" if equal else "differs"


def read_truth(path: Path) -> Truth:
    """Reads what the real modules of a folder of configs have.

    Raises:
        BadInput: no object of one object for each file.
    """
    truth = read_json(path, f"truth {str(path)!r}")
    if not isinstance(truth, dict) or not all(isinstance(item, dict) for item in truth.values()):
        raise BadInput(f"truth {str(path)!r}: expected an object of one object for each file")
    return truth
