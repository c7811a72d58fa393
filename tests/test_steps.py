"""How far a loop is: told of the outermost one, with what is inside as a share of its step."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread

import pytest

from rmtscale.steps import steps, watched_by


class Notes:
    """A watcher that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str | float] = []

    def begin(self, what: str) -> None:
        self.told.append(what)

    def moved(self, share: float) -> None:
        self.told.append(round(share, 4))

    def end(self) -> None:
        self.told.append("end")


def test_without_a_watcher_items_pass() -> None:
    passed = steps(iter("abc"), "reading")
    assert next(passed) == "a"
    assert list(passed) == ["b", "c"]


def test_a_loop_inside_is_a_share_of_its_step() -> None:
    notes = Notes()
    with watched_by(notes):
        for size in steps([1, 3], "reading", weigh=float):
            assert list(steps(range(size))) == list(range(size))
    inside = [0.25, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert notes.told == ["reading", *inside, "end"]


def test_a_generator_is_not_taken_at_once() -> None:
    """Nor are items lost where there are more, or fewer, than was said."""
    notes = Notes()
    taken: list[int] = []

    def items() -> Iterator[int]:
        for at in range(3):
            taken.append(at)
            yield at

    with watched_by(notes):
        for at in steps(items(), "reading", total=2):
            assert taken == list(range(at + 1))
    assert taken == [0, 1, 2]
    assert notes.told[:3] == ["reading", 0.5, 1.0]


def test_nothing_is_told_of_a_loop_without_a_name() -> None:
    notes = Notes()
    with watched_by(notes):
        assert list(steps([1, 2])) == [1, 2]
        assert list(steps([], "reading")) == []
    assert notes.told == ["reading", "end"]


def test_an_error_ends_the_loop() -> None:
    notes = Notes()

    def failing() -> None:
        for item in steps([1, 2], "reading"):
            raise ValueError(item)

    with watched_by(notes):
        with pytest.raises(ValueError, match="1"):
            failing()
        list(steps([1], "again"))
    assert notes.told == ["reading", "end", "again", 1.0, "end"]


def test_other_threads_are_passed_over() -> None:
    notes = Notes()
    with watched_by(notes):
        thread = Thread(target=lambda: list(steps([1, 2], "reading")), daemon=True)
        thread.start()
        thread.join()
    assert notes.told == []
