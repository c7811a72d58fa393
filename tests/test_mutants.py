"""The mutants: changes that count, the tests that they meet, and that a wrong number is killed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.mutants import ROOT, Mutant, Outcome, meaning, places, runs_for

FILE = "rmtscale/specs/recurrence.py"
ASK = """
from tests.mutants import Mutant, ROOT, fate
source = (ROOT / {file!r}).read_text(encoding="utf-8")
before, after = {change!r}
assert source.count(before) == 1
mutant = Mutant({file!r}, 1, source.replace(before, after), ())
print(*fate(mutant, [["tests/specs/test_recurrence.py"]]))
"""


def asked(before: str, after: str) -> Outcome:
    """The fate of a change, asked by a process that has loaded nothing of the package yet."""
    done = subprocess.run(
        [sys.executable, "-c", ASK.format(file=FILE, change=(before, after))],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    killed, *by, seconds = done.stdout.splitlines()[-1].split(" ")
    return Outcome(killed == "True", " ".join(by), float(seconds))


def test_a_wrong_overhead_is_killed() -> None:
    outcome = asked("return 2 * self.memory_tokens", "return 3 * self.memory_tokens")
    assert outcome.killed
    assert outcome.by.startswith("tests/specs/test_recurrence.py::test_")


def test_what_changes_nothing_survives() -> None:
    outcome = asked("return 2 * self.memory_tokens", "return self.memory_tokens * 2")
    assert not outcome.killed


def test_annotations_decorators_and_caches_are_no_terms() -> None:
    source = "@cached(maxsize=10)\ndef f(a: int | None) -> int:\n    return g(a, strict=True) - 2\n"
    for before, after in ((" | ", " + "), ("10", "11"), ("True", "False"), (" - 2", " -  2")):
        assert meaning(source.replace(before, after)) == meaning(source)
    assert meaning(source.replace("- 2", "+ 2")) not in (None, meaning(source))
    assert meaning("def f(*):") is None


def test_the_runs_for_a_mutant() -> None:
    """First those of the row, or named like the module, then those that import it."""
    source = '_X = 3\n    "olmo": Row(\n  1\n    ),\n    "phi": Row(\n    2\n'
    row = Mutant("rmtscale/specs/rows/decoders.py", 3, source, ())
    assert runs_for(row)[0] == ["tests/specs/test_rows.py", "-k", "[olmo]"]
    runs = runs_for(Mutant("rmtscale/costs/operators.py", 1, "", ()))
    assert runs[0] == ["tests/costs/test_operators.py"]
    assert ["tests/costs/methods/test_method_plain.py"] in runs
    assert all((ROOT / file).is_file() for (file,) in runs)


def test_the_places_of_a_source() -> None:
    pytest.importorskip("cosmic_ray")
    found = places("x = 2 + -y if a < b and c else 1\n")
    assert sorted(column for _, column in found) == [4, 6, 8, 16, 20, 31]
