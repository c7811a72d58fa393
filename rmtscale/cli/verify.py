"""``rmtscale verify``: parameters and the ``matmul`` convention held against the real modules."""

from __future__ import annotations

from rmtscale.cli import options
from rmtscale.cli.output import Row, require_format, write_line, write_rows, write_table, write_text
from rmtscale.cli.workload import refuse_unread_settings
from rmtscale.errors import BadInput, CheckFailed, MissingDependency, RmtscaleError
from rmtscale.specs.huggingface import read_model
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.reading import Reading
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from rmtscale.steps import steps
from rmtscale.units import format_tokens, parse_size, parse_sizes


def command(
    model: options.Model,
    tokens: options.Tokens = "512",
    segment_size: options.SegmentSize = "128",
    memory_tokens: options.MemoryTokens = 4,
    mode: options.Mode = "train",
    batch_size: options.BatchSize = 1,
    dropout: options.Dropout = True,
    bptt_segments: options.BpttSegments = None,
    checkpoint_segments: options.CheckpointSegments = False,
    checkpoint_layers: options.CheckpointLayers = False,
    output_format: options.Format = "table",
) -> None:
    """Counts parameters and FLOPs on the real module (meta device) and demands equality.

    A config.json is built as it is, not as it was read. FLOPs are compared by operator.

    Example: rmtscale verify --model opt-350m --tokens 512 --segment-size 128 --mode train
    """
    require_format(output_format)
    refuse_unread_settings(mode, "")
    reading = read_model(model)
    spec = reading.spec
    recurrence = Recurrence(parse_size(segment_size, "segment size"), memory_tokens)
    recurrence.segment_tokens(spec)
    try:
        from rmtscale.profiler.flop_check import check_flops, check_parameters, real_build
    except RmtscaleError:
        raise
    except ImportError as error:
        raise MissingDependency(
            f"verify needs {error.name}: pip install 'rmtscale[measure]'"
        ) from error
    build = real_build(reading)
    designs: tuple[Recurrence | None, ...] = (None, recurrence)
    refused = ""
    counted = check_parameters(spec, build)
    rows: list[Row] = [
        _row(spec.name, "any", 0, mode, "parameters", counted.predicted, counted.counted)
    ]
    for length in steps(parse_sizes(tokens), "counting", weigh=float):
        workload = Workload(
            tokens=length,
            batch_size=batch_size,
            mode=mode,  # type: ignore[arg-type]
            dropout=None if dropout else False,
            bptt_segments=bptt_segments,
            checkpoint_segments=checkpoint_segments,
            checkpoint_layers=checkpoint_layers,
        )
        for with_memory in steps(designs):
            try:
                check = check_flops(spec, workload, with_memory, build)
            except BadInput as error:
                # A backbone that no RMT can be put around; full attention is counted alone.
                if with_memory is None or not isinstance(spec, LayeredSpec):
                    raise
                refused = str(error)
                continue
            operators = sorted({*check.predicted_flops, *check.counted_flops})
            rows += [
                _row(
                    spec.name,
                    check.method,
                    length,
                    mode,
                    operator,
                    check.predicted_flops.get(operator, 0),
                    check.counted_flops.get(operator, 0),
                )
                for operator in operators
            ]
    differing = [row for row in rows if row["predicted"] != row["counted"]]
    if output_format != "table":
        write_rows([_plain(row) for row in rows], output_format)
    else:
        write_line(f"{spec.name}, {mode}: predicted, and counted on {_module(reading)}")
        write_table(
            ["method", "operator", "tokens", "predicted", "counted", "difference"],
            [
                [
                    row["method"],
                    row["operator"],
                    format_tokens(row["tokens"]) if row["tokens"] else "",
                    f"{row['predicted']:,}",
                    f"{row['counted']:,}",
                    f"{row['predicted'] - row['counted']:+,}",
                ]
                for row in rows
            ],
            text_columns=2,
        )
        for note in reading.notes:
            write_text(note)
        if refused:
            write_text(f"Full attention alone is counted, no RMT is: {refused}.")
    if differing:
        raise CheckFailed(f"{len(differing)} of {len(rows)} counts differ from the prediction")
    if output_format == "table":
        write_line(f"pass: all {len(rows)} counts are equal as integers")


def _row(
    name: str, method: str, tokens: int, mode: str, operator: str, predicted: int, counted: int
) -> Row:
    return {
        "model": name,
        "method": method,
        "tokens": tokens,
        "mode": mode,
        "operator": operator,
        "predicted": predicted,
        "counted": counted,
    }


def _plain(row: Row) -> Row:
    """With the unit in the keys."""
    kind = "parameters" if row["operator"] == "parameters" else "flops"
    names = {"predicted": f"predicted_{kind}", "counted": f"counted_{kind}"}
    return {names.get(key, key): value for key, value in row.items()}


def _module(reading: Reading) -> str:
    if reading.config is None:
        return "the real module"
    return f"{reading.class_name}, built from the file"
