"""A config with numbers that JSON does not have is read wherever one is, in both ways to write it.

Published files of Mamba 2 and Nemotron-H have ``Infinity``; Transformers 5 writes a word for it.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rmtscale.app.answers import MODES, Asked
from rmtscale.cli.main import main
from rmtscale.errors import BadInput
from rmtscale.readers import parse_config, with_floats, without_floats
from rmtscale.records.store import RecordStore
from rmtscale.rmt import RMTConfig, RMTForCausalLM
from rmtscale.specs.huggingface import from_config, read_model
from rmtscale.specs.layered import LayeredSpec
from tests.rmt.tiny_types import tiny_model
from tests.sources import PACKAGE, parsed, walk
from tests.specs.tiny_configs import TINY
from tests.synthetic.cpu import cpu_point, cpu_record

LIMIT = [0.0, math.inf]
CONFIG: dict[str, Any] = {
    **TINY["mamba2"],
    "architectures": ["Mamba2ForCausalLM"],
    "time_step_limit": LIMIT,
}
TEXTS = {"bare": json.dumps(CONFIG), "in words": json.dumps(without_floats(CONFIG))}
SAVED = ("mamba2", "bamba")
"""Backbones whose configs have a limit that there is not."""


@pytest.fixture(params=TEXTS)
def text(request: pytest.FixtureRequest) -> str:
    return TEXTS[request.param]


def test_the_two_ways_differ_and_mean_the_same() -> None:
    assert "Infinity]" in TEXTS["bare"]
    assert '{"__float__": "Infinity"}' in TEXTS["in words"]
    json.loads(TEXTS["in words"], parse_constant=pytest.fail)
    assert all(parse_config(text, "x") == CONFIG for text in TEXTS.values())


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1.5, 3, "Infinity", None, [math.inf, {}]])
def test_words_come_back(value: object) -> None:
    assert with_floats(without_floats({"a": [value]})) == {"a": [value]}


def test_what_is_no_number_in_words_stays() -> None:
    values: tuple[dict[str, Any], ...] = (
        {"__float__": "1"},
        {"__float__": []},
        {"__float__": "NaN", "a": 1},
        {},
    )
    for value in values:
        assert with_floats(value) == value
    assert math.isnan(with_floats({"__float__": "NaN"}))


def test_files_are_read(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    plain = from_config(TINY["mamba2"], "x")
    assert isinstance(plain, LayeredSpec)
    for place in (tmp_path, tmp_path / "config.json"):
        found = read_model(str(place)).spec
        assert isinstance(found, LayeredSpec)
        assert found.groups == plain.groups
    on_the_page = {"device": "h100", "gpus": "1", "tokens": "1k", "precision": ""}
    dropped = Asked.read(on_the_page | {"mode": next(iter(MODES)), "config": text}).model
    assert isinstance(dropped, LayeredSpec)
    assert dropped.groups == plain.groups


def test_the_real_module_is_built(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(SystemExit) as ended:
        main(["verify", "-m", str(tmp_path), "--tokens=40", "--mode=forward"])
    told = capsys.readouterr()
    assert ended.value.code == 0, told.err
    assert "are equal as integers" in told.out


def test_a_record_is_plain_json_and_comes_back(text: str) -> None:
    spec = from_config(parse_config(text, "x"), "x")
    point = replace(cpu_point(tokens=64), model=spec)
    line = cpu_record(point).to_line()
    json.loads(line, parse_constant=pytest.fail)
    again = RecordStore.parse_line(line).point
    assert again == point
    assert again.key == point.key


@pytest.mark.parametrize("kind", SAVED)
def test_an_rmt_around_one_is_loaded_again(kind: str, tmp_path: Path) -> None:
    model = RMTForCausalLM(tiny_model(kind, None), RMTConfig(segment_size=16, memory_tokens=2))
    model.save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    assert "Infinity" in text
    again = RMTForCausalLM.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(again[name], value) for name, value in model.state_dict().items())


def test_what_a_field_cannot_be_is_refused_by_its_name() -> None:
    for value in (math.inf, -math.inf, math.nan):
        with pytest.raises(BadInput, match=f"hidden_size is {value}, expected a whole number"):
            from_config(parse_config(json.dumps(CONFIG | {"hidden_size": value}), "x"), "x")


def plain_readers(parsed_modules: Mapping[str, ast.Module]) -> list[str]:
    """Modules that read a ``config.json`` as if its numbers were finite."""
    return [
        module
        for module, tree in parsed_modules.items()
        for node in walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("read_json", "parse_json")
        and "config" in ast.unparse(node)
    ]


def test_no_config_is_read_otherwise() -> None:
    assert plain_readers(parsed(PACKAGE)) == []
    other = ast.parse("read_json(folder / 'config.json', 'model')")
    assert plain_readers({"other.py": other}) == ["other.py"]
