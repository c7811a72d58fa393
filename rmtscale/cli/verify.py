"""``rmtscale verify``: the ``matmul`` convention held against the real modules."""

from __future__ import annotations

from rmtscale.cli import options
from rmtscale.cli.output import Row, require_format, write_line, write_rows, write_table
from rmtscale.errors import CheckFailed, MissingDependency, RmtscaleError
from rmtscale.specs.huggingface import resolve_model
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
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
    """Counts FLOPs on the real modules (meta device) and demands equality, per operator.

    Example: rmtscale verify --model opt-350m --tokens 512 --segment-size 128 --mode train
    """
    require_format(output_format)
    spec = resolve_model(model)
    recurrence = Recurrence(parse_size(segment_size, "segment size"), memory_tokens)
    recurrence.segment_tokens(spec)
    try:
        from rmtscale.profiler.flop_check import check_flops
    except RmtscaleError:
        raise
    except ImportError as error:
        raise MissingDependency(
            f"verify needs {error.name}: pip install 'rmtscale[measure]'"
        ) from error
    rows: list[Row] = []
    for length in parse_sizes(tokens):
        workload = Workload(
            tokens=length,
            batch_size=batch_size,
            mode=mode,  # type: ignore[arg-type]
            dropout=None if dropout else False,
            bptt_segments=bptt_segments,
            checkpoint_segments=checkpoint_segments,
            checkpoint_layers=checkpoint_layers,
        )
        for with_memory in (None, recurrence):
            check = check_flops(spec, workload, with_memory)
            operators = sorted({*check.predicted_flops, *check.counted_flops})
            rows += [
                {
                    "model": spec.name,
                    "method": check.method,
                    "tokens": length,
                    "mode": mode,
                    "operator": operator,
                    "predicted_flops": check.predicted_flops.get(operator, 0),
                    "counted_flops": check.counted_flops.get(operator, 0),
                }
                for operator in operators
            ]
    differing = [row for row in rows if row["predicted_flops"] != row["counted_flops"]]
    if output_format != "table":
        write_rows(rows, output_format)
    else:
        write_line(f"{spec.name}, {mode}: FLOPs predicted, and counted on the real modules")
        write_table(
            ["method", "operator", "tokens", "predicted", "counted", "difference"],
            [
                [
                    row["method"],
                    row["operator"],
                    format_tokens(row["tokens"]),
                    f"{row['predicted_flops']:,}",
                    f"{row['counted_flops']:,}",
                    f"{row['predicted_flops'] - row['counted_flops']:+,}",
                ]
                for row in rows
            ],
            text_columns=2,
        )
    if differing:
        raise CheckFailed(f"{len(differing)} of {len(rows)} counts differ from the prediction")
    if output_format == "table":
        write_line(f"pass: all {len(rows)} counts are equal as integers")
