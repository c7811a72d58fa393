"""What the feeder and the fuzzer found, each as small as it could be made.

Each filled the memory, never ended, or was a traceback before it was a line.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.rule import breach_of_call
from tests.hostile.test_readers import READERS

NEO = {
    "model_type": "gpt_neo", "hidden_size": 64, "num_layers": 2, "num_heads": 2,
    "vocab_size": 99, "max_position_embeddings": 64, "window_size": 8,
}  # fmt: skip
GPT2 = {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 2, "vocab_size": 99}
BPE = {"type": "BPE", "vocab": {"a": 4_000_000_000}, "merges": []}
FOUND: list[tuple[str, Any]] = [
    ("config gpt_neo", NEO | {"attention_types": [[["global", "local"], 300_000_000]]}),
    ("config gpt_neo", NEO | {"attention_types": [[["global", "local"], 1e308]]}),
    ("config gpt_neo", NEO | {"attention_layers": [["global"], {}]}),
    ("config gpt2", GPT2 | {"n_layer": 300_000_000}),
    ("config gpt2", GPT2 | {"n_embd": 10**30}),
    ("config gpt2", b"[" * 100_000),
    ("config gpt2", b'{"model_type": "gpt2", "n_embd": ' + b"9" * 4301 + b"}"),
    ("config gpt2", b'{"model_type": "gpt2", "n_embd": NaN}'),
    ("config gpt2", b'{"model_type": "\\ud800"}'),
    ("tokenizer", {"version": "1.0", "model": BPE}),
    ("tokenizer", {"added_tokens": [{"id": 4_000_000_000, "content": "a"}], "model": {}}),
    ("sweep", b"a = " + b"[" * 100_000),
    ("sweep", b"seed = " + b"9" * 4301),
    ("sweep", b'[[grid]]\nmodel = "gpt2"\ntokens = [' + b"1," * 9 + b"2]\nmethod = []\n"),
    ("calibration", {"schema_version": 2, "calibration": {"operator_seconds": -1}}),
    ("metrics", b'{"schema_version": 1, "step": 1e400}\n'),
    ("text", b'{"text": "' + b"a" * 70_000_000),
]


@pytest.mark.parametrize(("kind", "content"), FOUND)
def test_what_was_found_stays_found(kind: str, content: Any, tmp_path: Path) -> None:
    path = tmp_path / READERS[kind].name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    assert breach_of_call(lambda: READERS[kind].read(path)) == ""
