"""What other calculators say of the same configs, beside our own table of them.

    make peers RMTSCALE_CONFIGS=FOLDER PEERS=PYTHON     # writes reports/models/peers.csv, minutes

``FOLDER`` holds the configs and their ``TRUTH.json`` as for ``make configs``. ``PYTHON`` is an
interpreter that has this package's ``measure`` extra (Transformers 5.23, torch 2.13) and the peers,
which nothing else in the project needs. llm-analysis asks for an older Transformers, which would
know fewer types, so it goes beside the newer one:

    pip install --no-deps llm-analysis==0.2.2 calflops==0.3.2 fvcore==0.1.5.post20221221 \
        iopath yacs portalocker fire termcolor tabulate

Each peer is used as its documentation says. FLOPs are forward, batch 1, a multiply-add as two:

* llm-analysis reads the config (``get_model_config_by_name`` of a folder, never remote code); its
  parameters and forward FLOPs are those of ``LLMAnalysis``.
* calflops and fvcore count a live module: the one that the truth was counted on, without weights on
  ``meta``, eager attention. Of calflops it is twice its MACs and of fvcore twice its count of the
  operators that multiply, so that norms and activations, which both also count, are left out.

Every file has a process of its own, since calflops replaces functions of torch while it counts.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib
import json
import logging
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

PEERS = ("llm-analysis", "calflops", "fvcore")
TIMEOUT_SECONDS = 120
MULTIPLY = ("addmm", "bmm", "conv", "einsum", "linear", "matmul", "mm")
"""Operators of fvcore whose unit is one multiply-add."""

Said = dict[str, Any]


COLUMNS = (
    *("file", "model_type", "class", "calculator"),
    *("parameters", "true_parameters", "parameters_error"),
    *("tokens", "flops", "true_flops", "flops_error", "refused"),
)


def ask_llm_analysis(path: Path, tokens: int | None) -> Said:
    """Parameters and forward FLOPs of llm-analysis, from a folder that holds the config."""
    from llm_analysis.analysis import LLMAnalysis
    from llm_analysis.config import get_gpu_config_by_name, get_model_config_by_name

    path = path.resolve()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path(path.stem).mkdir()
        shutil.copy(path, Path(path.stem) / "config.json")
        model = get_model_config_by_name(path.stem)
    analysis = LLMAnalysis(model, get_gpu_config_by_name("a100-sxm-80gb"))
    said: Said = {"parameters": round(analysis.get_num_params_total())}
    return said | flops_or_reason(tokens, lambda s: analysis.get_num_flops_fwd_total(1, s))


def ask_fvcore(module: Any, tokens: int | None) -> Said:
    """Parameters and multiply-adds of fvcore, whose trace takes what it is given by position."""
    import torch
    from fvcore.nn import FlopCountAnalysis, parameter_count

    from rmtscale.profiler.real_module import module_inputs

    class ByPosition(torch.nn.Module):
        """The module with its inputs by position and nothing but its first output."""

        def __init__(self, inputs: Said) -> None:
            super().__init__()
            self.module = module
            self.inputs = inputs

        def forward(self, *values: Any) -> Any:
            names = [name for name, value in self.inputs.items() if torch.is_tensor(value)]
            return self.module(**self.inputs | dict(zip(names, values, strict=True)))[0]

    def count(tokens: int) -> float:
        inputs = module_inputs(module, 1, tokens)
        tensors = tuple(value for value in inputs.values() if torch.is_tensor(value))
        counts = FlopCountAnalysis(ByPosition(inputs), tensors).by_operator()
        return 2.0 * sum(float(counts[operator]) for operator in MULTIPLY)

    return {"parameters": parameter_count(module)[""]} | flops_or_reason(tokens, count)


def ask_calflops(module: Any, tokens: int | None) -> Said:
    """Parameters and twice the MACs of calflops, which moves every input and so takes tensors."""
    import torch
    from calflops import calculate_flops
    from calflops.calculate_pipline import CalFlopsPipline

    from rmtscale.profiler.real_module import module_inputs

    pipeline = CalFlopsPipline(module, include_backPropagation=False, compute_bp_factor=2.0)
    pipeline.start_flops_calculate()
    parameters = int(pipeline.get_total_params())
    pipeline.end_flops_calculate()

    def count(tokens: int) -> int:
        module.config.use_cache = False
        inputs = module_inputs(module, 1, tokens)
        tensors = {name: value for name, value in inputs.items() if torch.is_tensor(value)}
        _, macs, _ = calculate_flops(
            model=module, kwargs=tensors, print_results=False, output_as_string=False
        )
        return 2 * int(macs)

    return {"parameters": parameters} | flops_or_reason(tokens, count)


def flops_or_reason(tokens: int | None, count: Callable[[int], float]) -> Said:
    """FLOPs at a length, or why there are none; nothing where no truth is known."""
    if tokens is None:
        return {}
    try:
        return {"flops": round(count(tokens))}
    except Exception as error:  # noqa: BLE001  # whatever it is, it is the reason
        return {"refused": f"FLOPs: {reason(error)}"}


def reason(error: Exception) -> str:
    """The first line of an error, with its kind."""
    text = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {text}"[:160]


def module_of(config: Said, class_name: str | None, name: str) -> Any:
    """The module that the truth was counted on: of the whole config, or of its text part."""
    from rmtscale.errors import BadInput
    from rmtscale.profiler.real_module import class_of_config, real_module
    from rmtscale.specs.reading import text_part

    text = text_part(config)
    wanted = class_name or class_of_config(config, name)
    try:
        return real_module(text, wanted, name)
    except BadInput:
        if text is config:
            raise
        return real_module(config, wanted, name)


def ask_all(path: Path, truth: Said, tokens: int | None, answers: Connection) -> None:
    """Sends the answer of each peer for one file, calflops last."""
    import torch

    from rmtscale.profiler.real_module import values_of_meta

    torch.set_num_threads(1)

    def answer(peer: str, ask: Callable[[], Said]) -> None:
        try:
            with torch.no_grad(), contextlib.redirect_stdout(sys.stderr):
                answers.send((peer, ask()))
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the reason
            answers.send((peer, {"refused": reason(error)}))

    answer("llm-analysis", lambda: ask_llm_analysis(path, tokens))
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        module = module_of(config, truth.get("class"), path.stem)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is the reason
        for peer in ("fvcore", "calflops"):
            answers.send((peer, {"refused": f"no module to count: {reason(error)}"}))
        return
    with values_of_meta():
        answer("fvcore", lambda: ask_fvcore(module, tokens))
        answer("calflops", lambda: ask_calflops(module, tokens))


def answers_for(path: Path, truth: Said, tokens: int | None) -> dict[str, Said]:
    """What the peers answer for one file, asked in a process of its own."""
    here, there = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=ask_all, args=(path, truth, tokens, there)
    )
    process.start()
    there.close()
    answers: dict[str, Said] = {}
    with contextlib.suppress(EOFError):
        while len(answers) < len(PEERS) and here.poll(TIMEOUT_SECONDS):
            peer, said = here.recv()
            answers[peer] = said
    process.kill()
    process.join()
    missing = {"refused": f"no answer within {TIMEOUT_SECONDS} s, or its process died"}
    return {f"{peer} {version(peer)}": answers.get(peer, missing) for peer in PEERS}


def error(said: int | None, true: int | None) -> str:
    """The relative error, with its sign: 0 where exact, empty where either is unknown."""
    if said is None or true is None:
        return ""
    return "0" if said == true else f"{said / true - 1:.6g}"


def ours(path: Path, truth: Said, tokens: int | None) -> Said:
    """What ``rmtscale models`` and ``rmtscale flops`` say of the file."""
    from rmtscale.cli.options import counted_model
    from rmtscale.costs.flops import estimate_flops
    from rmtscale.costs.parameters import count_parameters
    from rmtscale.errors import BadInput
    from rmtscale.specs.huggingface import find_config, read_mapping
    from rmtscale.specs.reading import NoRow
    from rmtscale.specs.workload import Workload

    try:
        try:
            spec = read_mapping(find_config(str(path)), path.stem, truth.get("class")).spec
        except NoRow as refused:
            counted = counted_model(str(path), refused)
            return {"parameters": counted.parameters} | flops_or_reason(tokens, counted.flops)
    except BadInput as refused:
        return {"refused": str(refused).partition(": ")[2]}
    return {"parameters": count_parameters(spec).total} | flops_or_reason(
        tokens, lambda s: estimate_flops(spec, Workload(tokens=s), None, "matmul").total
    )


def rows(folder: Path) -> Iterator[Said]:
    """The rows of each config of the folder, in the order of their names: ours, then the peers'."""
    truths = json.loads((folder / "TRUTH.json").read_text(encoding="utf-8"))
    for path in sorted(folder.glob("*.json")):
        if path.name == "TRUTH.json":
            continue
        truth = truths.get(path.stem, {})
        known = {int(s): flops for s, flops in truth.get("matmul_flops_forward", {}).items()}
        tokens = max(known, default=None)
        config = json.loads(path.read_text(encoding="utf-8"))
        answers = answers_for(path, truth, tokens)
        for calculator, said in {"rmtscale": ours(path, truth, tokens), **answers}.items():
            yield said | {
                "file": path.stem,
                "model_type": config.get("model_type"),
                "class": truth.get("class"),
                "calculator": calculator,
                "true_parameters": truth.get("parameters"),
                "parameters_error": error(said.get("parameters"), truth.get("parameters")),
                "tokens": tokens,
                "true_flops": known.get(tokens) if tokens else None,
                "flops_error": error(said.get("flops"), known.get(tokens) if tokens else None),
            }
        sys.stderr.write(f"{path.stem}\n")


def main() -> None:
    """Writes the table to standard output."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="configs and their TRUTH.json")
    folder = parser.parse_args().folder
    os.environ["HF_HUB_OFFLINE"] = "1"
    logging.disable(logging.ERROR)
    # Imported once, before the processes part.
    importlib.import_module("rmtscale.profiler.real_module")
    importlib.import_module("transformers.models.llama.modeling_llama")
    importlib.import_module("fvcore.nn")
    importlib.import_module("llm_analysis.analysis")
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows(folder):
        writer.writerow(row)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
