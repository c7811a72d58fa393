"""``rmtscale train``: an RMT learns a memory task or a text, on this machine, resumably."""

from __future__ import annotations

import importlib.util
import math
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rmtscale.cli import options
from rmtscale.cli.output import require_format, write_line
from rmtscale.cli.ranks import is_first, is_first_here
from rmtscale.cli.train_settings import read_options, read_pair, training_settings
from rmtscale.cli.training_result import write_result
from rmtscale.errors import BadInput, MissingDependency, quoted_list
from rmtscale.study.training.kinds import kind_of, task_names
from rmtscale.units import (
    parse_size,
    parse_sizes,
)

if TYPE_CHECKING:
    from rmtscale.study.training.loop import Result
    from rmtscale.study.training.settings import LoopSettings

NEEDED = ("torch", "transformers", "accelerate", "safetensors")


def command(
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder of the training; the same command goes on there."),
    ],
    recipe: Annotated[
        str | None,
        typer.Option(help="Settings of an experiment, such as memorize-0; options change them."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help=f"{quoted_list(task_names())}.  (default: memorize)"),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="Of the task, NAME=VALUE, such as persons=3; may be given again."),
    ] = None,
    stories: Annotated[
        str | None,
        typer.Option(help="babilong: tasks to learn, such as qa1,qa2.  (default: qa1)"),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            help="Memory tasks, noise: python, a folder or .jsonl.gz of text.  (default: python)"
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(help="Language: the same kinds; lemma-proof: decls.jsonl.gz or python."),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="Language: latex-4096, lean-4096, a tokenizer.json or hub name."
            "  (default: trained on the text)"
        ),
    ] = None,
    segments: Annotated[
        int | None, typer.Option(help="Of the longest stage.  (default: 7)")
    ] = None,
    segment_size: Annotated[
        str | None,
        typer.Option(help="Memory tokens included.  (default: 512; language: 128)"),
    ] = None,
    memory_tokens: Annotated[
        int | None, typer.Option(help="0 is a model without memory.  (default: 4; language: 2)")
    ] = None,
    sink_tokens: Annotated[
        int | None, typer.Option(help="Memory tokens that no segment overwrites.  (default: 0)")
    ] = None,
    block_tokens: Annotated[
        str | None,
        typer.Option(
            help="Language: tokens scored at the end of each sample; without memory, the rest of "
            "the segment is context.  (default: the text of a segment)"
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="gpt-neox-small, gpt-neox-text, modernbert-small, bert-small, gpt2-small-random, "
            "gpt-neo-small-random, *-tiny, or a pretrained checkpoint: a folder or hub name."
            "  (default: gpt-neox-small; language: gpt-neox-text)"
        ),
    ] = None,
    curriculum: Annotated[
        bool | None,
        typer.Option("--curriculum/--no-curriculum", help="From little noise and few segments on."),
    ] = None,
    mixing: Annotated[
        bool | None,
        typer.Option("--mixing/--fixed", help="Language: draw the number of segments of a batch."),
    ] = None,
    lora_rank: Annotated[
        int | None, typer.Option(help="LoRA of this rank, the backbone frozen.")
    ] = None,
    adapter_width: Annotated[
        int | None, typer.Option(help="Language: a parallel adapter, the backbone frozen.")
    ] = None,
    memory_only: Annotated[
        bool | None,
        typer.Option(
            "--memory-only/--backbone-too",
            help="Language: train nothing but the memory, the backbone frozen.",
        ),
    ] = None,
    init_from: Annotated[
        str | None,
        typer.Option(help="Checkpoint to begin with, of as many memory tokens or fewer."),
    ] = None,
    burn_in: Annotated[
        str | None,
        typer.Option(help="Memory tasks: most segments without gradient: 16,64,256; or none."),
    ] = None,
    steps: Annotated[
        str | None, typer.Option(help="All; may be another when going on.  (default: 20k)")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Sequences a step, of all processes.  (default: 64)")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="(default: 3e-4; language: 1e-3)")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="(default: 0)")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Any other setting, NAME=JSON, such as ema_decay=0.99; may be repeated."
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cuda or cpu.  (default: the GPU if there is one)")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="Stop after this with a state, to go on later.")
    ] = None,
    gpu_utilization: Annotated[
        bool,
        typer.Option(
            "--gpu-utilization", help="Measure it once a stage, which slows that interval."
        ),
    ] = False,
    finish_within: Annotated[
        float | None,
        typer.Option(help="Move the end (and --steps) so that it is done in so many seconds."),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(help="Under torchrun: ddp, or fsdp2, which cuts weights.  (default: ddp)"),
    ] = None,
    tp: Annotated[
        int | None, typer.Option(help="Under torchrun: processes that share each matrix.")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Language: folder of packed text, to share.  (default: in --out)"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Begin anew: the training in --out is lost.")
    ] = False,
    output_format: options.Format = "table",
) -> None:
    """Trains an RMT to remember facts, or to predict text, from random initialisation or not.

    A training that was stopped or killed goes on when the command is given again; --out alone
    is enough then, and --steps moves its end.
    Several GPUs of this machine: torchrun --nproc_per_node 2 -m rmtscale train ...
    How many there are changes nothing but the time, also when the training goes on with others;
    nor does how they share the weights (--shard, --tp).

    Example: rmtscale train --task memorize --segments 3 --segment-size 64
    --backbone gpt-neox-tiny --steps 500 --learning-rate 2e-3 --out build/memorize

    Example: rmtscale train --task language-modeling --segments 2 --backbone gpt-neox-tiny
    --steps 300 --batch-size 16 --out build/text
    """
    require_format(output_format)
    require_libraries("train")
    given = {
        "task": task,
        "task_options": _task_options(option, stories),
        "background": background,
        "text": text,
        "tokenizer": tokenizer,
        "segments": segments,
        "segment_size": _size(segment_size, "segment size"),
        "memory_tokens": memory_tokens,
        "sink_tokens": sink_tokens,
        "block_tokens": _size(block_tokens, "block tokens"),
        "backbone": backbone,
        "curriculum": curriculum,
        "mixing": mixing,
        "lora_rank": lora_rank,
        "adapter_width": adapter_width,
        "memory_only": memory_only,
        "init_from": init_from,
        "burn_in": None if burn_in is None else _burn_in(burn_in),
        "steps": _size(steps, "steps"),
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
    }
    given = {name: x for name, x in given.items() if x is not None}
    given |= dict(read_pair(pair, "set") for pair in setting or [])  # null is a value here
    settings = training_settings(out, recipe, given, anew=force)
    if cache is not None and not kind_of(settings.task).packs_text:
        packing = [task for task in task_names() if kind_of(task).packs_text]
        raise BadInput(
            f"--cache {str(cache)!r} with {settings.task}: expected {quoted_list(packing)}, whose "
            "text is packed"
        )
    if finish_within is not None:
        if force:
            raise BadInput(
                f"--finish-within {finish_within:g} with --force: expected one of them, what "
                "begins anew has no throughput yet"
            )
        from rmtscale.study.training.layout import SETTINGS
        from rmtscale.study.training.within import ending_within

        if recipe is None and not given and not (out / SETTINGS).is_file():
            raise BadInput(
                f"--finish-within {finish_within:g} without a training in {str(out)!r}: expected "
                "the folder of one, or what to train: --recipe, --task or a setting"
            )
        require_seconds("finish within", finish_within)
        chosen = settings

        def one_interval() -> bool:
            tried = run_training(
                chosen,
                out,
                anew=False,
                device=device,
                max_seconds=0.0,
                measure_gpu_utilization=False,
                cache=cache,
                shard=shard,
                tp=tp,
            )
            return tried.finished

        settings = ending_within(settings, out, finish_within, one_interval)
    if max_seconds is not None:
        require_seconds("max seconds", max_seconds)
    result = run_training(
        settings,
        out,
        anew=force,
        device=device,
        max_seconds=max_seconds,
        measure_gpu_utilization=gpu_utilization,
        cache=cache,
        shard=shard,
        tp=tp,
    )
    if is_first():
        write_result(settings, out, result, output_format)


def require_seconds(name: str, seconds: float) -> None:
    """Raises ``BadInput`` unless it is a time: 0 or more, and finite."""
    if not 0 <= seconds < math.inf:
        raise BadInput(f"{name} {seconds!r}: expected seconds, 0 or more")


def require_libraries(command_name: str) -> None:
    """Raises ``MissingDependency`` in the light installation."""
    for name in NEEDED:
        if importlib.util.find_spec(name) is None:
            raise MissingDependency(f"{command_name} needs {name}: pip install 'rmtscale[measure]'")


def run_training(
    settings: LoopSettings,
    out: Path,
    *,
    anew: bool,
    device: str | None,
    max_seconds: float | None,
    measure_gpu_utilization: bool,
    cache: Path | None,
    shard: str | None = None,
    tp: int | None = None,
) -> Result:
    """``train``, watched; an interrupt says how to go on."""
    from rmtscale.cli.training_progress import watching
    from rmtscale.study.training.loop import train

    try:
        with watching() as observer:
            return train(
                settings,
                out,
                anew=anew,
                device=device,
                max_seconds=max_seconds,
                measure_gpu_utilization=measure_gpu_utilization,
                cache=cache,
                observer=observer,
                shard="ddp" if shard is None else shard,
                tp=1 if tp is None else tp,
            )
    except KeyboardInterrupt:
        with suppress(OSError):  # a terminal that was closed
            if is_first_here():
                write_line(f"the last state is in {out}; the same command goes on from there")
        raise


def _size(text: str | None, name: str) -> int | None:
    return None if text is None else parse_size(text, name)


def _task_options(option: list[str] | None, stories: str | None) -> dict[str, object] | None:
    given = {} if option is None else read_options(option)
    if stories is not None:
        given["stories"] = stories
    return given or None


def _burn_in(text: str) -> list[int]:
    return [] if text.strip() == "none" else parse_sizes(text, "burn-in")
