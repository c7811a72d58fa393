"""Models that are not presets: a config.json, its folder, a hub name; what is wrong with one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from rmtscale.errors import BadInput
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.huggingface import from_config, resolve_model, to_config
from rmtscale.specs.model import KINDS

GPT2 = to_config(PRESETS["gpt2"])


def test_a_file_and_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(GPT2 | {"n_layer": 3}), encoding="utf-8")
    for name in (str(path), str(tmp_path)):
        spec = resolve_model(name)
        assert (spec.layers, spec.width, spec.name) == (3, 768, name)


def test_a_preset_goes_before_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gpt2").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve_model("gpt2") is PRESETS["gpt2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "this is not JSON"),
        ("[1]", "expected a JSON object with a model_type"),
        ("{}", "model_type None is not supported, expected one of bert, gpt2"),
        (
            '{"model_type": "qwen"}',
            "model_type 'qwen' is not supported (did you mean qwen3 or qwen2?)",
        ),
        ('{"model_type": "mamba"}', "its config lacks 'hidden_size'"),
        ('{"model_type": ["gpt2"]}', "is not supported"),
        ('{"model_type": "gpt2"}', "its config lacks 'n_embd'"),
    ],
)
def test_a_bad_file(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(BadInput) as error:
        resolve_model(str(path))
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(BadInput, match="this is not text"):
        resolve_model(str(path))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("gpt2", {"n_layer": 0}, "n_layer is 0, expected a whole number of 1 or more"),
        ("gpt2", {"n_layer": "12"}, "n_layer is '12'"),
        ("gpt2", {"n_layer": True}, "n_layer is True"),
        ("gpt2", {"n_head": 7}, "n_embd is 768, expected a multiple of n_head (7)"),
        ("gpt2", {"attn_pdrop": 1.5}, "attn_pdrop is 1.5, expected 0 up to 1"),
        ("gpt2", {"add_cross_attention": True}, "cross-attention is not supported"),
        ("bert-base-cased", {"is_decoder": True}, "a BERT decoder is not supported"),
        ("opt-125m", {"enable_bias": 1}, "enable_bias is 1, expected true or false"),
        ("gpt-neo-125m", {"attention_types": [[["global"], 3]]}, "name 3 layers, expected 12"),
        ("gpt-neo-125m", {"attention_types": 5}, "attention_types is 5, expected a list"),
        ("gpt-neo-125m", {"attention_types": []}, "name 0 layers, expected 12"),
        ("pythia-70m", {"rotary_pct": 0}, "rotary_pct is 0"),
        ("llama-3-8b", {"num_key_value_heads": 5}, "num_key_value_heads is 5"),
        ("llama-3-8b", {"hidden_act": 3}, "hidden_act is 3, expected a name"),
    ],
)
def test_a_bad_field(name: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as error:
        from_config(to_config(PRESETS[name]) | change, "mine")
    assert message in str(error.value)
    assert "mine" in str(error.value)


def test_a_folder_without_a_config(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"expected a config\.json in this folder"):
        resolve_model(str(tmp_path))


def test_an_unknown_name_is_helped() -> None:
    with pytest.raises(BadInput, match="did you mean opt-175b"):
        resolve_model("opt-175bn")


class _Answer:
    def __init__(self, text: str) -> None:
        self.text = text

    def raise_for_status(self) -> None:
        return None


class _Session:
    def __init__(self, answer: _Answer | Exception) -> None:
        self.answer = answer

    def get(self, url: str, **_: object) -> _Answer:
        assert url.endswith("/some-lab/some-model/resolve/main/config.json")
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_a_hub_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    session = _Session(_Answer(json.dumps(GPT2)))
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: session)
    assert resolve_model("some-lab/some-model").width == 768


def test_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    session = _Session(OSError("no route to host\nand more"))
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: session)
    with pytest.raises(BadInput) as error:
        resolve_model("some-lab/some-model")
    assert "the hub gave no config.json (no route to host)" in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_that_is_absent_has_its_class_s_default(kind: str) -> None:
    """Each field of Transformers' own class is left out once."""
    full = AutoConfig.for_model(kind).to_dict()
    del full["architectures"]
    whole, refused = from_config(full), set()
    for field in full:
        part = {name: value for name, value in full.items() if name != field}
        try:
            assert from_config(part) == whole, field
        except BadInput:
            refused.add(field)
    # Without a width it is not the config of a model.
    assert refused == {"model_type", "n_embd" if kind == "gpt2" else "hidden_size"}


@pytest.mark.parametrize("kind", ["mistral", "mixtral", "phi3", "qwen2", "qwen3", "smollm3"])
@pytest.mark.parametrize("share", [None, 0.0, 0.25])
def test_the_dropout_of_a_type_written_like_a_family(kind: str, share: float | None) -> None:
    config = AutoConfig.for_model(kind).to_dict() | {"attention_dropout": share}
    assert from_config(config).attention_dropout == (share or 0.0)
