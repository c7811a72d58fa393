"""A fuzzer of configs, records and tokenizers: ``make fuzz`` (Hypothesis, not guided by coverage).

It changes right files as a hand or a broken disk would (values swapped, keys moved, bytes turned),
works out everything that follows from what is read, and stops at the first that breaks the rule.
Its finds are cases of ``FOUND`` in ``test_found.py``.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings, target
from hypothesis import strategies as st

from tests.hostile.rule import breach_of_call
from tests.hostile.test_readers import READERS
from tests.hostile.values import FIELDS, json_of

EXAMPLES = int(os.environ.get("RMTSCALE_FUZZ", "300"))
FUZZED = ("config gpt2", "config gpt_neo", "config t5", "config mixtral", "records", "tokenizer")


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in an object."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key in list(value)[:60]:
            found += places(value[key], (*path, key))
    elif isinstance(value, list):
        for index in range(min(len(value), 4)):
            found += places(value[index], (*path, index))
    return found


def put(value: Any, path: tuple[Any, ...], bad: Any) -> Any:
    """The object with another value at a place; as it is where the place has gone."""
    if not path:
        return bad
    if isinstance(value, dict) and path[0] in value:
        return {**value, path[0]: put(value[path[0]], path[1:], bad)}
    if isinstance(value, list) and isinstance(path[0], int) and path[0] < len(value):
        return [put(x, path[1:], bad) if i == path[0] else x for i, x in enumerate(value)]
    return value


def fuzz(name: str, examples: int = EXAMPLES) -> None:
    """Reads changed files of one kind.

    Raises:
        AssertionError: one breaks the rule; Hypothesis shows the smallest that does.
    """
    reader = READERS[name]
    with tempfile.TemporaryDirectory() as made:
        whole = reader.whole(Path(made))
        path = Path(made) / f"fuzzed-{reader.name}"
        first = json.loads(whole.split(b"\n")[0]) if name == "records" else json.loads(whole)
        everywhere = places(first)
        texts = [str(place[-1]) for place in everywhere]
        values = st.one_of(
            st.sampled_from(FIELDS),
            st.integers(-5, 70_000),
            st.floats(),
            st.text(max_size=8),
            st.sampled_from(texts),
            st.recursive(st.none() | st.integers() | st.text(max_size=3), st.lists, max_leaves=6),
        )
        changes = st.lists(st.tuples(st.sampled_from(everywhere), values), min_size=1, max_size=6)
        turned = st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), max_size=2)

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(changes, turned)
        def changed(changes: list[tuple[Any, Any]], turned: list[tuple[int, int]]) -> None:
            value = first
            for place, bad in changes:
                value = put(value, place, bad)
            content = bytearray(json_of(value) + b"\n")
            for place, by in turned:
                content[place % len(content)] ^= by
            path.write_bytes(content)
            target(float(len(changes)))
            breach = breach_of_call(lambda: reader.read(path))
            assert not breach, f"{breach}: {bytes(content)[:2000]!r}"

        changed()


if __name__ == "__main__":
    for kind in FUZZED:
        fuzz(kind)
        print(f"{kind}: {EXAMPLES} files")  # noqa: T201
