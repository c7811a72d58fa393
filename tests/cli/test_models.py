"""One model in a table: each kind of layer once, with how many there are, of both its parts."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rmtscale.units import format_bytes
from tests.command_line import Command
from tests.specs.tiny_configs import TINY


def kinds(row: dict[str, Any]) -> Counter[tuple[str, str, str]]:
    """Counts the layers of every kind, from the plain numbers."""
    found: Counter[tuple[str, str, str]] = Counter()
    for part, groups in (("encoder", row["encoder_groups"]), ("decoder", row["groups"])):
        for group in groups:
            mixer = group["mixer"]["title"]
            if "cross_attention" in group:
                mixer += f", and over the encoder {group['cross_attention']['title']}"
            found[part, mixer, group["feed_forward"]["title"]] += group["count"]
    return found


@pytest.mark.parametrize("kind", sorted(TINY))
def test_every_kind_of_layer_has_one_line(
    kind: str, rmtscale: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(TINY[kind]))
    (row,) = json.loads(rmtscale("models", str(path), "--format", "json").out)["rows"]
    told = rmtscale("models", str(path)).out
    lines = [re.split(r"\s{3,}", line.strip()) for line in told.splitlines()]
    both = bool(row["encoder_groups"])
    for (part, mixer, feed_forward), count in kinds(row).items():
        assert lines.count([str(count), *([part] if both else []), mixer, feed_forward]) == 1
    shown = [int(line[0]) for line in lines if line[0].isdecimal() and len(line) > 2]
    groups = [*row["encoder_groups"], *row["groups"]]
    assert sum(shown) == sum(group["count"] for group in groups)
    assert len(shown) == len(kinds(row))
    assert ("take turns" in told) == (len(groups) > len(shown))
    cache = row["kv_cache_bytes_per_token"], row["kv_cache_bytes_per_token_behind_windows"]
    assert format_bytes(cache[0]) in told
    beyond = f"{format_bytes(cache[1])} beyond the windows"
    assert (beyond in told) == (cache[0] != cache[1])
