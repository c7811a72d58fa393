"""Names of lemmas in a proof: where they stand, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtscale.study.tasks.names import name_parts, named_spans, own_name

NAMES = ("nat.succ_div", "set.finite.add'", "mul_comm", "path.join", "box.Box._open", "x₁.Ω_le")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("rw nat.succ_div", ["nat.succ_div"]),
        ("rw [←succ_div, h]", ["succ_div"]),
        ("@nat.succ_div n", ["nat.succ_div"]),
        ("exact _root_.nat.succ_div", ["nat.succ_div"]),
        ("(succ_div.symm).trans nat.succ_div.mp.2", ["succ_div", "nat.succ_div"]),
        ("mul_comm", ["mul_comm"]),
        ("mul_comm.", ["mul_comm"]),
        ("(mul_comm)⁻¹ • λmul_comm", ["mul_comm", "mul_comm"]),
        ("set.finite.add' finite.add' add'", ["set.finite.add'", "finite.add'", "add'"]),
        ("x₁.Ω_le Ω_le", ["x₁.Ω_le", "Ω_le"]),
        ("return self._open(cls.Box._open)", ["_open", "Box._open"]),
        ("path.join(join)", ["path.join", "join"]),
        # Longer, shorter, or otherwise spelled: other names.
        ("div succ_di succ_div' nat.succ_div₂ succ_div_iff", []),
        ("int.nat.succ_div int.mul_comm h.mul_comm", []),
        ("nat.mul_comm nat.succ set.finite finite.add", []),
        ("self", []),
        ("", []),
    ],
)
def test_what_names_a_lemma(text: str, named: list[str]) -> None:
    assert [text[start:stop] for start, stop in named_spans(text, NAMES)] == named


def test_a_name_asks_for_its_lemma() -> None:
    """What is not used is not marked, whoever has that name."""
    assert named_spans("nat.succ_div mul_comm", ["int.succ_div"]) == []
    assert named_spans("nat.succ_div mul_comm", []) == []


def test_the_longest_part_that_is_a_name() -> None:
    text = "iff.symm.mpr"
    assert named_spans(text, ["a.iff", "iff.symm"]) == [(0, 8)]
    assert named_spans(text, ["a.iff"]) == [(0, 3)]


@given(
    st.lists(st.sampled_from(["h", "succ_div", "nat.succ_div", "a.b", "x'", "div"]), max_size=9),
    st.sampled_from([" ", ", ", "\n  ", " (", "] ", " ⟨", "←"]),
)
def test_places_of_names(words: list[str], between: str) -> None:
    """Counted out word by word."""
    expected, place = [], 0
    for word in words:
        if word in ("succ_div", "nat.succ_div"):
            expected.append((place, place + len(word)))
        place += len(word) + len(between)
    assert named_spans(between.join(words), NAMES) == expected


@given(st.text(alphabet="ab.'_ λ₁⟩1", max_size=40))
def test_parts_hold_every_name_there_is(text: str) -> None:
    """A lemma that is named has its own name among the parts; every part is in the text."""
    parts = name_parts(text)
    for names in ("a", "b.a", "a'.b_", "a₁.1"):
        if named_spans(text, [names]):
            assert own_name(names) in parts
    assert all(part in text and "." not in part and "λ" not in part for part in parts)


def test_parts_of_a_proof() -> None:
    assert name_parts("rw [nat.succ_div, λx, h.1]") == {"rw", "nat", "succ_div", "x", "h", "1"}
    assert own_name("nat.succ_div") == "succ_div"
    assert own_name("mul_comm") == "mul_comm"
