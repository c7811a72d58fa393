"""Lemma-proof: what a sample holds, told from its text; which of its tokens are marked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtscale.errors import BadInput
from rmtscale.study.tasks.blocks import TokenBatch
from rmtscale.study.tasks.declaration import Declaration
from rmtscale.study.tasks.declarations import load_declarations
from rmtscale.study.tasks.lemma_proof import NAME, ORDERS, PROOF, STATEMENT_FIRST, LemmaProof
from tests.study.tasks.made_declarations import FILES, lemma_tokenizer, made_declarations
from tests.study.tasks.small_tokenizer import small_tokenizer

SEGMENT = 64
MOST = 160
DECLARATIONS = made_declarations()
SIDES = st.sampled_from(("train", "validation"))


@cache
def task(split: str, order: str = STATEMENT_FIRST) -> LemmaProof:
    return LemmaProof(
        DECLARATIONS, lemma_tokenizer(), SEGMENT, split, order=order, most_tokens=MOST
    )


def told(batch: TokenBatch, row: int, order: str = STATEMENT_FIRST) -> tuple[int, list[str]]:
    """Theorem and lemmas of a sample, from its text alone; its ends checked on the way."""
    text = lemma_tokenizer().decode(batch.targets[row])
    before, proof = text.split(":=\n")
    *parts, nothing = before.split("\n\n")
    assert nothing == ""
    (statement,) = parts[:1] if order == STATEMENT_FIRST else parts[-1:]
    lemmas = parts[1:] if order == STATEMENT_FIRST else parts[:-1]
    (theorem,) = (n for n, one in enumerate(DECLARATIONS) if one.statement == statement)
    assert DECLARATIONS[theorem].proof == proof
    return theorem, lemmas


def words(proof: str) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", proof))


def check_lemmas(theorem: int, lemmas: list[str], split: str, relevant: bool) -> None:
    """The used ones, whole; the others of the split, not named, each once, one cut at most."""
    one = DECLARATIONS[theorem]
    used = {DECLARATIONS[use].statement for use in one.uses}
    others = {
        other.statement
        for other in DECLARATIONS
        if other.split == split
        and other.statement not in used
        and other is not one
        and other.name.split(".")[-1] not in words(one.proof)
    }
    counts = Counter(lemmas)
    assert {lemma for lemma in used if counts[lemma]} == (used if relevant else set())
    rest = [lemma for lemma in lemmas if lemma not in used]
    cut = [lemma for lemma in rest if lemma not in others]
    assert set(counts.values()) <= {1} or cut
    assert len(cut) <= (1 if relevant else 1 + len(used))
    for lemma in cut:
        assert any(other.startswith(lemma) for other in others)


@given(SIDES, st.sampled_from(ORDERS), st.integers(3, 10), st.integers(0, 99), st.booleans())
def test_what_a_sample_holds(
    split: str, order: str, segments: int, step: int, relevant: bool
) -> None:
    """Every column is text and scored; the input of each is the token before it."""
    made = task(split, order)
    if not relevant:
        made = replaced(split, order)
    batch = made.drawn(seed=5, step=step, batch_size=4, read_tokens=segments * SEGMENT)
    assert batch.ids.shape == (4, segments * SEGMENT)
    assert batch.targets.min() >= 0
    assert batch.ids[:, 0].tolist() == [lemma_tokenizer().end_of_text] * 4
    assert batch.ids[:, 1:].tolist() == batch.targets[:, :-1].tolist()
    assert {batch.ids.dtype, batch.targets.dtype, batch.clusters.dtype} == {np.dtype(np.int64)}
    assert batch.marks.dtype == np.uint8
    for row in range(4):
        theorem, lemmas = told(batch, row, order)
        assert DECLARATIONS[theorem].split == split
        assert sorted(FILES)[batch.clusters[row]] == DECLARATIONS[theorem].file
        check_lemmas(theorem, lemmas, split, relevant)


@cache
def replaced(split: str, order: str = STATEMENT_FIRST) -> LemmaProof:
    return LemmaProof(
        DECLARATIONS,
        lemma_tokenizer(),
        SEGMENT,
        split,
        order=order,
        most_tokens=MOST,
        relevant=False,
    )


def test_which_theorems_there_are() -> None:
    """Counted out: used lemmas, a proof, short enough; in training every lemma is of training."""
    tokenizer = lemma_tokenizer()

    def tokens(place: int) -> int:
        one = DECLARATIONS[place]
        texts = [DECLARATIONS[use].statement for use in (place, *one.uses)]
        parts = [part for text in texts for part in (text, "\n\n")]
        return sum(len(tokenizer.encode(part)) for part in (*parts, ":=\n", one.proof))

    for split in ("train", "validation", "test"):
        expected = [
            place
            for place, one in enumerate(DECLARATIONS)
            if one.split == split
            and one.uses
            and one.proof
            and tokens(place) <= MOST
            and (split != "train" or all(DECLARATIONS[u].split == "train" for u in one.uses))
        ]
        assert task(split).theorems.tolist() == expected
        assert task(split).samples() == len(expected)
        assert len(expected) > 5
    assert any(  # the rules above rule something out
        one.split == "train" and one.proof and one.uses and place not in task("train").theorems
        for place, one in enumerate(DECLARATIONS)
    )
    least = min(tokens(place) for place in task("test").theorems.tolist())
    found = LemmaProof(DECLARATIONS, tokenizer, SEGMENT, "test", most_tokens=least)
    assert len(found.theorems) >= 1
    with pytest.raises(BadInput) as error:
        LemmaProof(DECLARATIONS, tokenizer, SEGMENT, "test", most_tokens=least - 1)
    assert str(error.value) == (
        f"most tokens {least - 1}: expected room for a statement of the test split, its lemmas and "
        f"its proof, the shortest has {least}"
    )


def test_one_segment_is_the_default_room() -> None:
    made = LemmaProof(DECLARATIONS, lemma_tokenizer(), 80, "train")
    assert made.most_tokens == 80
    assert 0 < len(made.theorems) < len(task("train").theorems)
    assert made.drawn(0, 0, 3, 80).targets.shape == (3, 80)


def test_no_text_of_other_splits_is_trained_on() -> None:
    """All that can be told apart of the other splits: none of it is ever in a sample."""
    made = task("train")
    batches = [made.drawn(1, step, 8, 6 * SEGMENT) for step in range(40)]
    batches += made.batches(6 * SEGMENT, 8)
    batches += made.batches(6 * SEGMENT, 8, relevant=False)
    seen = "".join(lemma_tokenizer().decode(row) for batch in batches for row in batch.targets)
    shown = [one for one in DECLARATIONS if one.statement in seen]
    assert {one.split for one in shown} == {"train"}
    assert len(shown) > 50


@given(SIDES, st.sampled_from(ORDERS), st.integers(0, 9))
def test_the_marks(split: str, order: str, step: int) -> None:
    """Token by token: bytes are counted up, names are found by hand."""
    batch = task(split, order).drawn(seed=1, step=step, batch_size=3, read_tokens=4 * SEGMENT)
    for row in range(3):
        theorem, _ = told(batch, row, order)
        one = DECLARATIONS[theorem]
        named = set()
        for use in one.uses:
            full = DECLARATIONS[use].name
            for match in re.finditer(rf"\b{re.escape(full.split('.')[-1])}\b", one.proof):
                start, stop = match.span()
                if one.proof[: match.start()].endswith(f"{full.split('.')[0]}."):
                    start -= len(full.split(".")[0]) + 1
                named |= set(range(start, stop))
        assert named
        ids = lemma_tokenizer().encode(one.proof)
        expected, place = [], 0
        for size in lemma_tokenizer().token_bytes[ids].tolist():
            inside = named & set(range(place, place + size))
            expected.append(PROOF | NAME if inside else PROOF)
            place += size
        marks = batch.marks[row].tolist()
        assert marks[-len(ids) :] == expected
        assert not any(marks[: -len(ids)])
        assert batch.targets[row, -len(ids) :].tolist() == ids.tolist()


def columns(batches: Iterator[TokenBatch]) -> TokenBatch:
    """All rows of some batches as one."""
    return TokenBatch(*map(np.concatenate, zip(*batches, strict=True)))


@pytest.mark.parametrize("order", ORDERS)
def test_with_the_lemmas_and_without(order: str) -> None:
    """The same in every column, but for those of the used lemmas; the proof is the same."""
    made, tokenizer = task("validation", order), lemma_tokenizer()
    read = 5 * SEGMENT
    given_them, others = (
        columns(made.batches(read, 4, relevant=relevant)) for relevant in (True, False)
    )
    assert given_them.marks.tolist() == others.marks.tolist()
    assert given_them.clusters.tolist() == others.clusters.tolist()
    for row in range(made.samples()):
        theorem, lemmas = told(given_them, row, order)
        again, without = told(others, row, order)
        assert again == theorem
        check_lemmas(theorem, lemmas, "validation", relevant=True)
        check_lemmas(theorem, without, "validation", relevant=False)
        different = np.flatnonzero(given_them.targets[row] != others.targets[row])
        used = [DECLARATIONS[use].statement for use in DECLARATIONS[theorem].uses]
        ids = given_them.targets[row].tolist()
        allowed = set()
        for text in used:
            statement = tokenizer.encode(text).tolist()
            (first,) = (
                place
                for place in range(len(ids))
                if ids[place : place + len(statement)] == statement
            )
            allowed |= set(range(first, first + len(statement)))
        assert set(different.tolist()) <= allowed
        assert len(different)
    default = columns(made.batches(read, 4))
    assert default.targets.tolist() == given_them.targets.tolist()
    trained_without = columns(replaced("validation", order).batches(read, 4))
    assert trained_without.targets.tolist() == others.targets.tolist()


@given(SIDES, st.integers(0, 2**40), st.integers(0, 10**6))
def test_the_same_theorems_at_every_length(split: str, seed: int, step: int) -> None:
    made = task(split)
    shortest = made.drawn(seed, step, 5, 3 * SEGMENT)
    for segments in (4, 7):
        batch = made.drawn(seed, step, 5, segments * SEGMENT)
        assert [told(batch, row)[0] for row in range(5)] == [
            told(shortest, row)[0] for row in range(5)
        ]
    assert replaced(split).drawn(seed, step, 5, 3 * SEGMENT).clusters.tolist() == (
        shortest.clusters.tolist()
    )


def test_evaluation_takes_each_theorem_once() -> None:
    """In order, whatever the batch size; a longer sample has all of the shorter one's lemmas."""
    made = task("train")
    total = made.samples()
    short = columns(made.batches(3 * SEGMENT, 7))
    assert [told(short, row)[0] for row in range(total)] == made.theorems.tolist()
    again = columns(made.batches(3 * SEGMENT, total + 1))
    assert again.targets.tolist() == short.targets.tolist()
    assert [len(one.ids) for one in made.batches(3 * SEGMENT, 7)] == (
        [7] * (total // 7) + [total % 7] * bool(total % 7)
    )
    long = columns(made.batches(8 * SEGMENT, 7))
    for row in range(total):
        _, lemmas = told(short, row)
        longer = Counter(told(long, row)[1])
        missing = [lemma for lemma in lemmas if not longer[lemma]]
        assert len(missing) <= 1  # the one that was cut
        assert all(any(other.startswith(lemma) for other in longer) for lemma in missing)
    some = columns(made.batches(3 * SEGMENT, 7, wanted=5))
    theorems = [told(some, row)[0] for row in range(made.samples(5))]
    assert len(set(theorems)) == 5
    assert theorems == sorted(theorems)
    assert made.samples(10**6) == total


def test_lemmas_are_shuffled() -> None:
    """A used lemma is anywhere among the others: in every fifth of them now and then."""
    made = task("train")
    fifths: Counter[int] = Counter()
    for step in range(60):
        batch = made.drawn(2, step, 4, 6 * SEGMENT)
        for row in range(4):
            theorem, lemmas = told(batch, row)
            for use in DECLARATIONS[theorem].uses:
                place = lemmas.index(DECLARATIONS[use].statement)
                fifths[5 * place // len(lemmas)] += 1
    expected = fifths.total() / 5
    # Chi-squared on 4 degrees of freedom exceeds 23.5 once in 10,000 times.
    assert sum((fifths[one] - expected) ** 2 / expected for one in range(5)) < 23.5


def test_every_theorem_is_equally_likely() -> None:
    made = task("validation")
    counts = Counter(
        told(batch, row)[0]
        for batch in (made.drawn(3, step, 40, 3 * SEGMENT) for step in range(30))
        for row in range(40)
    )
    expected = 1200 / made.samples()
    degrees = made.samples() - 1
    statistic = sum((counts[one] - expected) ** 2 / expected for one in made.theorems.tolist())
    assert counts.total() == 1200
    assert statistic < degrees + 5 * (2 * degrees) ** 0.5


def test_steps_and_seeds_draw_anew() -> None:
    def drawn(seed: int, step: int) -> bytes:
        return task("train").drawn(seed, step, 3, 3 * SEGMENT).targets.tobytes()

    assert drawn(1, 2) == drawn(1, 2)
    assert len({drawn(1, 2), drawn(2, 1), drawn(1, 3), drawn(0, 2)}) == 4


def lemma(name: str, statement: str, proof: str = "", uses: tuple[int, ...] = ()) -> Declaration:
    return Declaration(name, statement, proof, uses, "a", "test")


def test_a_statement_whose_name_is_in_the_proof_is_never_taken() -> None:
    """Named by dots or not, though it is not among the uses."""
    tokenizer = small_tokenizer()
    assert len(tokenizer.encode("\n\n")) == 2
    declarations = [
        lemma("t.main", "lemma main ka", "by used, h.hidden, (open.secret.symm)", (1,)),
        lemma("used", "lemma used lo"),
        lemma("x.hidden", "lemma hidden mi"),
        lemma("open.secret", "lemma secret mi"),
        *(lemma(f"other{n}", f"lemma other{n} bo{n}") for n in range(80)),
    ]
    made = LemmaProof(declarations, tokenizer, 40, "test", most_tokens=80)
    for relevant in (True, False):
        for step in range(20):
            batch = LemmaProof(
                declarations, tokenizer, 40, "test", most_tokens=80, relevant=relevant
            ).drawn(0, step, 4, 280)
            for row in range(4):
                text = tokenizer.decode(batch.targets[row]).split(":=\n")[0]
                assert "hidden" not in text
                assert "secret" not in text
                assert ("used" in text) == relevant
                assert text.count("main") == 1
    assert made.theorems.tolist() == [0]


def test_a_used_lemma_that_the_proof_does_not_name() -> None:
    """Is there once, never as filling, and nothing is marked as its name."""
    tokenizer = small_tokenizer()
    declarations = [
        lemma("main", "lemma main ka", "by magic", (1,)),
        lemma("used", "lemma used lo"),
        *(lemma(f"other{n}", f"lemma other{n} bo") for n in range(20)),
    ]
    for relevant in (True, False):
        made = LemmaProof(declarations, tokenizer, 100, "test", relevant=relevant)
        for step in range(20):
            batch = made.drawn(0, step, 2, 100)
            for row in range(2):
                assert tokenizer.decode(batch.targets[row]).count("used") == relevant
            assert set(np.unique(batch.marks)) == {0, PROOF}


def test_lemmas_longer_than_all_others_are_replaced_by_several() -> None:
    tokenizer = small_tokenizer()
    declarations = [
        lemma("main", "lemma main ka", "by used", (1,)),
        replace(lemma("used", "lemma used " + "lo mi " * 20), split="train", file="b"),
        *(lemma(f"other{n}", f"lemma other{n} bo{n}") for n in range(80)),
    ]
    made = LemmaProof(declarations, tokenizer, 100, "test", most_tokens=200)
    with_it, without = (next(made.batches(200, 1, relevant=one)) for one in (True, False))
    assert "used lo mi" in tokenizer.decode(with_it.targets[0])
    text = tokenizer.decode(without.targets[0])
    assert "lo mi" not in text
    assert text.count("lemma other") > tokenizer.decode(with_it.targets[0]).count("lemma other")
    assert with_it.marks.tolist() == without.marks.tolist()


@pytest.mark.parametrize("read", [0, SEGMENT, 2 * SEGMENT, 3 * SEGMENT + 1, 100 * SEGMENT])
def test_columns_that_cannot_be_read(read: int) -> None:
    tokenizer = lemma_tokenizer()
    statements = [f"{one.statement}" for one in DECLARATIONS if one.split == "test"]
    half = sum(len(tokenizer.encode(one)) + 1 for one in statements) // 2
    message = (
        f"read tokens {read}: expected a multiple of 64, from 160 to {half}, half of all "
        "statements of the test split"
    )
    with pytest.raises(BadInput, match=message):
        task("test").drawn(0, 0, 1, read)
    with pytest.raises(BadInput, match=message):
        next(task("test").batches(read, 1))


def test_a_name_that_nearly_all_have() -> None:
    declarations = [
        lemma("main", "lemma main ka", "by used, same", (1,)),
        lemma("used", "lemma used lo"),
        *(
            lemma(f"n{n}.{'same' if n > 11 else chr(97 + n)}", f"lemma number{n} bo")
            for n in range(60)
        ),
    ]
    made = LemmaProof(declarations, small_tokenizer(), 100, "test")
    made.drawn(0, 0, 1, 100)
    with pytest.raises(BadInput, match="tokens more than there are other statements for: expect"):
        made.drawn(0, 0, 1, 200)


def test_settings_that_make_no_sense() -> None:
    tokenizer = lemma_tokenizer()
    with pytest.raises(BadInput, match="order 'proof-first': expected one of statement-first, st"):
        LemmaProof(DECLARATIONS, tokenizer, 64, "train", order="proof-first")
    with pytest.raises(BadInput, match="split 'dev': expected one of train, validation, test"):
        LemmaProof(DECLARATIONS, tokenizer, 64, "dev")
    with pytest.raises(BadInput, match="segment tokens 0: expected"):
        LemmaProof(DECLARATIONS, tokenizer, 0, "train")
    with pytest.raises(BadInput, match="most tokens 0: expected"):
        LemmaProof(DECLARATIONS, tokenizer, 64, "train", most_tokens=0)
    with pytest.raises(BadInput, match=r"its lemmas and its proof, there is none$"):
        LemmaProof([lemma("a", "lemma a", "by b")], tokenizer, 64, "test")
    with pytest.raises(BadInput, match="samples 0: expected"):
        task("train").samples(0)
    with pytest.raises(BadInput, match="batch size 0: expected"):
        next(task("train").batches(3 * SEGMENT, 0))


def test_the_functions_of_this_python() -> None:
    """Works without any download."""
    declarations = load_declarations("python")
    made = LemmaProof(declarations, lemma_tokenizer(), 400, "validation")
    assert made.samples() > 10
    batch = next(made.batches(1200, 4))
    text = lemma_tokenizer().decode(batch.targets[0])
    one = declarations[int(made.theorems[0])]
    assert text.startswith(f"{one.statement}\n\n")
    assert text.endswith(f":=\n{one.proof}")
    assert all(declarations[use].statement in text for use in one.uses)
    assert (batch.marks & NAME).any(axis=1).all()


def test_no_validation_proof_is_one_of_training() -> None:
    """Long ones anywhere, short ones of the same statement; training itself keeps all."""
    used = replace(lemma("used", "lemma used", "rfl"), split="train")
    long, short = "exact used " * 8, "exact used"
    places = {"long": long, "again": short, "other": short, "own": "exact used used"}
    train = [
        replace(lemma(name, f"lemma {name}", places[name], (0,)), split="train")
        for name in ("long", "again")
    ]
    validation = [
        replace(lemma(name, f"lemma {name}", places[name], (0,)), split="validation", file="v")
        for name in places
    ]
    validation[0] = replace(validation[0], statement="lemma another")
    found = LemmaProof([used, *train, *validation], lemma_tokenizer(), 256, "validation")
    names = [found.declarations[place].name for place in found.theorems]
    assert names == ["other", "own"]
    kept = LemmaProof([used, *train, *validation], lemma_tokenizer(), 256, "train")
    assert len(kept.theorems) == 2


def test_whether_lemmas_are_there_is_a_truth() -> None:
    with pytest.raises(BadInput, match="relevant 'no': expected true or false"):
        LemmaProof(DECLARATIONS, lemma_tokenizer(), SEGMENT, "train", relevant="no")  # type: ignore[arg-type]


def test_the_digest_tells_texts_apart() -> None:
    place = next(iter(task("train").theorems))
    changed = list(DECLARATIONS)
    changed[place] = replace(changed[place], proof=f"{changed[place].proof} x")
    other = LemmaProof(changed, lemma_tokenizer(), SEGMENT, "train", most_tokens=MOST)
    assert other.digest != task("train").digest
    same = LemmaProof(DECLARATIONS, lemma_tokenizer(), SEGMENT, "train", most_tokens=MOST)
    assert same.digest == task("train").digest != task("validation").digest
