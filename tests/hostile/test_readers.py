"""Every reader of a file is given every bad content, and objects with every bad field.

``make hostile`` gives all of them; a normal run a share, others at each reader and field.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import rmtscale
from rmtscale.cli.model_folder import read_truth
from rmtscale.profiler.definition import make_sweep, read_definition
from rmtscale.records.store import RecordStore
from rmtscale.report.calibration import read_calibration
from rmtscale.report.document import make_document, read_source
from rmtscale.report.text import csv_report, markdown_report
from rmtscale.specs.huggingface import read_model
from rmtscale.study.records.evaluation import EvaluationStore
from rmtscale.study.records.language import LanguageStore
from rmtscale.study.tasks.background import load_background
from rmtscale.study.tasks.declarations import load_declarations
from rmtscale.study.tasks.tokenizer import load_tokenizer, train_tokenizer
from rmtscale.study.training.metrics import read_metrics
from rmtscale.study.training.settings_file import read_settings
from tests.hostile.rule import breach_of_call, tell
from tests.hostile.values import contents, json_of, make_places, with_bad_fields
from tests.synthetic.cpu import cpu_point, cpu_record
from tests.synthetic.evaluations import evaluation
from tests.synthetic.language import language
from tests.tiny_theorems import write_theorems
from tests.tiny_training import tiny_settings

EVERYTHING = bool(os.environ.get("RMTSCALE_HOSTILE"))
_SHARE = 31
_TINY = Path(__file__).parents[1] / "specs" / "tiny"
_CALIBRATION = Path(rmtscale.__file__).parent / "costs" / "time" / "gpus" / "h200.json"


class Reader(NamedTuple):
    """Reads one kind of file."""

    name: str
    """The name that such a file has."""
    whole: Callable[[Path], bytes]
    """Makes a right one, in a folder that is there for it."""
    read: Callable[[Path], object]
    fields: bool = True
    """It is JSON, one object or one a line, whose fields can be replaced."""


def _model(path: Path) -> None:
    """All that is worked out of a config alone."""
    spec = read_model(str(path)).spec
    rmtscale.count_parameters(spec)
    rmtscale.estimate_flops(spec, 4096, convention="matmul")
    rmtscale.estimate_memory(spec, 4096)


def _report(path: Path) -> None:
    document = make_document([read_source(path)])
    markdown_report(document)
    csv_report(document)


def _saved(make: Callable[[Path], object], name: str) -> Callable[[Path], bytes]:
    def whole(folder: Path) -> bytes:
        make(folder)
        return (folder / name).read_bytes()

    return whole


def _tiny(kind: str) -> Callable[[Path], bytes]:
    return lambda _: (_TINY / f"{kind}.json").read_bytes()


def _quantized(stored: dict[str, Any]) -> Callable[[Path], bytes]:
    whole = json.loads((_TINY / "llama.json").read_bytes())
    return lambda _: json_of({**whole, "quantization_config": stored})


def _interval() -> dict[str, Any]:
    return {
        "schema_version": 1, "step": 4, "stage": 0, "stage_name": "16 tokens", "loss": 1.8,
        "accuracy": 0.2, "current_stage_accuracy": 0.2, "learning_rate": 1e-3, "tokens": 1024,
        "seconds": 0.1, "tokens_per_second": 1e4, "waiting_share": 0.01,
        "validation": {"2": 0.25},
    }  # fmt: skip


_SWEEP = b"""order = "short-first"
[protocol]
repeats = 5
[[grid]]
model = "pythia-14m"
method = ["full", "rmt"]
tokens = [1000, "2k"]
segment_size = [128]
memory_tokens = 2
device = "cpu"
"""
CONFIGS = sorted(path.stem for path in _TINY.glob("*.json"))
FEW = ("gpt2", "gpt_neo", "llama", "t5", "mixtral", "deepseek_v3")
"""Types that a normal run feeds."""
_WEIGHTS = {"num_bits": 8, "type": "int", "strategy": "group", "group_size": 32}
_GROUPS = {"a": {"targets": ["Linear"], "weights": _WEIGHTS, "input_activations": _WEIGHTS}}
_METHOD_FIELDS: dict[str, dict[str, Any]] = {
    "fp8": {"weight_block_size": [32, 32], "modules_to_not_convert": ["lm_head"]},
    "awq": {"bits": 4, "group_size": 32, "version": "gemm"},
    "gptq": {"bits": 4, "group_size": 32, "modules_in_block_to_quantize": [["mlp.up_proj"]]},
    "bitsandbytes": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "torchao": {"quant_type": {"default": {"_type": "Int8WeightOnlyConfig"}}},
    "compressed-tensors": {"format": "pack-quantized", "config_groups": _GROUPS}
    | {"sparsity_config": {"format": "dense"}, "ignore": ["lm_head"]},
    "modelopt": {"quantization": {"quantized_layers": {"lm_head": {"quant_algo": "FP8"}}}}
    | {"producer": {"name": "modelopt"}},
}
QUANTIZED = {name: {"quant_method": name, **found} for name, found in _METHOD_FIELDS.items()}
"""A ``quantization_config`` of each method."""
READERS: dict[str, Reader] = {
    **{
        f"config {kind}": Reader("config.json", _tiny(kind), _model)
        for kind in (CONFIGS if EVERYTHING else FEW)
    },
    **{
        f"config with {name}": Reader("config.json", _quantized(found), _model)
        for name, found in QUANTIZED.items()
    },
    "records": Reader(
        "records.jsonl",
        lambda _: b"".join(
            f"{cpu_record(cpu_point(tokens=n)).to_line()}\n".encode() for n in (64, 128)
        ),
        _report,
    ),
    "evaluations": Reader(
        "evaluation.jsonl",
        lambda _: f"{evaluation(4, 0.5).to_line()}\n".encode(),
        lambda path: EvaluationStore(path).read(),
    ),
    "losses": Reader(
        "evaluation.jsonl",
        lambda _: f"{language().to_line()}\n".encode(),
        lambda path: LanguageStore(path).read(),
    ),
    "metrics": Reader("metrics.jsonl", lambda _: json_of(_interval()) + b"\n", read_metrics),
    "calibration": Reader("c.json", lambda _: _CALIBRATION.read_bytes(), read_calibration),
    "sweep": Reader(
        "sweep.toml",
        lambda _: _SWEEP,
        lambda path: make_sweep(read_definition(path)),
        fields=False,
    ),
    "truth": Reader("truth.json", lambda _: b'{"a.json": {"parameters": 1}}', read_truth),
    "settings": Reader(
        "settings.json",
        lambda folder: tiny_settings(folder).to_json().encode(),
        read_settings,
    ),
    "tokenizer": Reader(
        "tokenizer.json",
        lambda _: train_tokenizer(["one two, three"], 260).to_mapping()["tokenizer"].encode(),
        lambda path: load_tokenizer(str(path)),
    ),
    "text": Reader(
        "train.jsonl",
        lambda _: b'{"text": "one two"}\n{"text": "three"}\n',
        lambda path: load_background(str(path), "train"),
    ),
    "packed text": Reader(
        "train.jsonl.gz",
        lambda _: gzip.compress(b'{"text": "one two"}\n{"text": "three"}\n'),
        lambda path: load_background(str(path), "train"),
        fields=False,
    ),
    "declarations": Reader(
        "decls.jsonl",
        _saved(lambda folder: write_theorems(folder / "decls.jsonl"), "decls.jsonl"),
        lambda path: load_declarations(str(path)),
    ),
}


def share(name: str, cases: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """Takes one in thirty or so, from another one on for each reader."""
    first = zlib.crc32(name.encode())
    for number, case in enumerate(cases):
        if EVERYTHING or (first + number) % _SHARE == 0:
            yield case


def cases(reader: Reader, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yields bad contents of the file, with what is bad about them."""
    folder.mkdir()
    whole = reader.whole(folder)
    yield from contents(whole).items()
    if reader.fields:
        first, newline, rest = whole.partition(b"\n") if whole.count(b"}\n{") else (whole, b"", b"")
        for what, changed in with_bad_fields(json.loads(first)):
            yield what, json_of(changed) + newline + rest


@pytest.mark.parametrize("name", READERS)
def test_every_reader_refuses_or_reads(name: str, tmp_path: Path) -> None:
    reader, found = READERS[name], {}
    path = tmp_path / reader.name
    for what, content in share(name, cases(reader, tmp_path / "made")):
        path.write_bytes(content)
        breach = breach_of_call(lambda: reader.read(path))
        if breach:
            found[f"{name}, {what}"] = breach
    assert not found, tell(found)


@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_not_waited_for(name: str, tmp_path: Path) -> None:
    """A pipe without a writer, a folder, a loop, 64 GiB of zeros, a device without an end."""
    reader, found = READERS[name], {}
    places = make_places(tmp_path) | {"zero": "/dev/zero", "full": "/dev/full", "gone": "gone"}
    for what, place in places.items():
        path = tmp_path / f"{what}-{reader.name}"
        if len(place) < 250:
            path.symlink_to(place)
        else:
            path = Path(place)
        breach = breach_of_call(lambda path=path: reader.read(path))  # type: ignore[misc]
        if breach:
            found[what] = breach
    assert not found, tell(found)


@pytest.mark.parametrize("name", READERS)
def test_a_right_file_is_read(name: str, tmp_path: Path) -> None:
    """Without this all of the above would hold for a reader that refuses everything."""
    reader = READERS[name]
    (tmp_path / "made").mkdir()
    path = tmp_path / reader.name
    path.write_bytes(reader.whole(tmp_path / "made"))
    assert breach_of_call(lambda: reader.read(path), refused=True) == ""


def test_records_may_come_out_of_a_pipe(tmp_path: Path) -> None:
    """``report <(zcat x.gz)``: what is written slowly is waited for, and read whole."""
    line = f"{cpu_record().to_line()}\n".encode()
    reading, writing = os.pipe()
    if os.fork() == 0:
        for start in range(0, len(line), 700):
            os.write(writing, line[start : start + 700])
        os._exit(0)
    os.close(writing)
    assert len(RecordStore(Path(f"/dev/fd/{reading}")).read().records) == 1
    os.close(reading)
    os.wait()
