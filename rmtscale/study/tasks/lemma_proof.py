"""Lemma-proof: a statement, shuffled lemmas of which the proof uses some, and the proof.

========================  ==================================================================
``statement-first``       statement, lemmas, proof (the order of the paper)
``statement-last``        lemmas, statement, proof
========================  ==================================================================

Other statements of the same split fill the room that statement, lemmas and proof leave; the last
one of them is cut to fit. So the length of a sample says how many there are, every column is text,
and every column is scored. What fills never names what the proof does: a statement whose own name
(the last part of it) stands in the proof is not taken.

Which theorems there are does not depend on the length of a sample: those with at least one lemma
and no more than ``most_tokens`` of statement, lemmas and proof. In training also, every lemma has
to be of the training split: no statement of the other splits is ever trained on. In validation
none has a proof that training has word for word, but for short ones of another statement.

Shape legend: B batch, N columns read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from hashlib import sha256
from itertools import chain

import numpy as np
import numpy.typing as npt

from rmtscale.errors import BadInput
from rmtscale.study.tasks.blocks import TokenBatch, spread
from rmtscale.study.tasks.declaration import PROOF_SIGN, SEPARATOR, SPLITS, Declaration
from rmtscale.study.tasks.filling import Filling, Pool
from rmtscale.study.tasks.names import name_parts, named_spans, own_name
from rmtscale.study.tasks.tokenizer import Ids, TextTokenizer
from rmtscale.units import require_one_of, require_positive

STATEMENT_FIRST, STATEMENT_LAST = ORDERS = ("statement-first", "statement-last")
PROOF, NAME = 1, 2
"""Marks of a target: a token of the proof; one that is part of a lemma's name in it."""
_TAG = 0x6C656D6D61
_LONG_PROOF = 60
"""Characters from which on a proof that training has too is no accident."""


class LemmaProof:
    """The theorems of a split, each written with as many other lemmas as there is room for.

    Args:
        declarations: of all splits.
        tokenizer: makes the ids; statements and proofs are tokenized here, once.
        segment_tokens: samples are whole segments.
        split: ``train``, ``validation`` or ``test``.
        order: one of the above.
        relevant: whether the lemmas that the proof uses are in the sample; where not, others of
            the same length stand in their place.
        most_tokens: of statement, lemmas and proof together; samples are at least as long. None is
            one segment; two segments take in more theorems and cannot be read in one.

    Raises:
        BadInput: no theorem of the split is short enough.
    """

    def __init__(
        self,
        declarations: Sequence[Declaration],
        tokenizer: TextTokenizer,
        segment_tokens: int,
        split: str,
        *,
        order: str = STATEMENT_FIRST,
        relevant: bool = True,
        most_tokens: int | None = None,
    ) -> None:
        require_positive("segment tokens", segment_tokens)
        require_one_of("split", split, SPLITS)
        require_one_of("order", order, ORDERS)
        if not isinstance(relevant, bool):
            raise BadInput(f"relevant {relevant!r}: expected true or false")
        if most_tokens is not None:
            require_positive("most tokens", most_tokens)
        self.declarations, self.tokenizer, self.split = declarations, tokenizer, split
        self.segment_tokens, self.order, self.relevant = segment_tokens, order, relevant
        self.most_tokens = segment_tokens if most_tokens is None else most_tokens
        self._trained = frozenset() if split == "train" else _known(declarations)
        candidates = [place for place in range(len(declarations)) if self._is_theorem(place)]
        self._tokenize(candidates)
        short = [place for place in candidates if self._least(place) <= self.most_tokens]
        if not short:
            shortest = min(map(self._least, candidates), default=None)
            raise BadInput(
                f"most tokens {self.most_tokens}: expected room for a statement of the {split} "
                "split, its lemmas and its proof, "
                + ("there is none" if shortest is None else f"the shortest has {shortest}")
            )
        self.theorems: npt.NDArray[np.int64] = np.array(short, dtype=np.int64)
        """Places of the theorems that samples are made of, ascending."""
        files = {name: number for number, name in enumerate(sorted({d.file for d in declarations}))}
        self._clusters = np.array([files[d.file] for d in declarations], dtype=np.int64)
        self._marks: dict[int, npt.NDArray[np.uint8]] = {}

    @cached_property
    def digest(self) -> str:
        """First 16 digits of the SHA-256 of the theorems' tokens."""
        total = sha256(self.tokenizer.digest.encode())
        for place in self.theorems:
            total.update(self._statements[place].tobytes() + self._proofs[place].tobytes())
        return total.hexdigest()[:16]

    def _is_theorem(self, place: int) -> bool:
        theorem = self.declarations[place]
        if (
            theorem.split != self.split
            or not theorem.uses
            or not theorem.proof
            or not theorem.statement
        ):
            return False
        if theorem.proof in self._trained or theorem.statement + theorem.proof in self._trained:
            return False
        lemmas = [self.declarations[use] for use in theorem.uses]
        return all(lemma.statement for lemma in lemmas) and (
            self.split != "train" or all(lemma.split == "train" for lemma in lemmas)
        )

    def _tokenize(self, candidates: list[int]) -> None:
        """Statements that a sample may hold, and the proofs of the theorems; others are left."""
        encode = self.tokenizer.encode_each
        declarations = self.declarations
        pool = [p for p, d in enumerate(declarations) if d.split == self.split and d.statement]
        used = {use for place in candidates for use in declarations[place].uses}
        places = sorted({*pool, *used})
        statements = encode(declarations[place].statement for place in places)
        self._statements = dict(zip(places, statements, strict=True))
        proofs = encode(declarations[place].proof for place in candidates)
        self._proofs = dict(zip(candidates, proofs, strict=True))
        self._separator = self.tokenizer.encode(SEPARATOR)
        self._sign = self.tokenizer.encode(PROOF_SIGN)
        own_names = [own_name(declaration.name) for declaration in declarations]
        self._pool = Pool(pool, own_names, self._statements, self._separator)

    def _least(self, place: int) -> int:
        """Counts the tokens of a sample without anything to fill it."""
        statements = (place, *self.declarations[place].uses)
        parts = sum(
            len(self._statements[statement]) + len(self._separator) for statement in statements
        )
        return parts + len(self._sign) + len(self._proofs[place])

    def drawn(self, seed: int, step: int, batch_size: int, read_tokens: int) -> TokenBatch:
        """Draws the batch of a training step: theorems at random, each equally likely.

        Which theorems depends on ``seed``, ``step`` and ``batch_size``, not on ``read_tokens``.

        Args:
            seed: 0 or more.
            step: 0 or more.
            batch_size: B.
            read_tokens: N, a multiple of the segment tokens.

        Raises:
            BadInput: too few columns, no whole segments, or too many for the statements there are.
        """
        self._require(read_tokens)
        rng = np.random.default_rng((_TAG, seed, step))
        places = self.theorems[rng.integers(len(self.theorems), size=batch_size)]
        return self._batch(places, [rng] * batch_size, read_tokens, self.relevant)

    def samples(self, wanted: int | None = None) -> int:
        """Theorems that ``batches`` gives: at most ``wanted``."""
        if wanted is not None:
            require_positive("samples", wanted)
        return len(self.theorems) if wanted is None else min(len(self.theorems), wanted)

    def batches(
        self,
        read_tokens: int,
        batch_size: int,
        wanted: int | None = None,
        relevant: bool | None = None,
    ) -> Iterator[TokenBatch]:
        """Yields every theorem once, or as many as are wanted, evenly spread.

        Args:
            read_tokens: N, a multiple of the segment tokens. A longer sample has the lemmas of
                the shorter one, others beside them, in another order.
            batch_size: B.
            wanted: how many theorems.
            relevant: whether the lemmas that are used are in the samples; None is as training.
                All else in a sample is the same with them and without, column by column.

        Raises:
            BadInput: as ``drawn``.
        """
        self._require(read_tokens)
        require_positive("batch size", batch_size)
        chosen = self.theorems[spread(self.samples(wanted), len(self.theorems))]
        with_them = self.relevant if relevant is None else relevant
        for low in range(0, len(chosen), batch_size):
            places = chosen[low : low + batch_size]
            chances = [np.random.default_rng((_TAG, place)) for place in places.tolist()]
            yield self._batch(places, chances, read_tokens, with_them)

    def _require(self, read_tokens: int) -> None:
        longest = self._pool.tokens // 2  # so that chance has something to choose from
        if read_tokens % self.segment_tokens or not self.most_tokens <= read_tokens <= longest:
            raise BadInput(
                f"read tokens {read_tokens}: expected a multiple of {self.segment_tokens}, from "
                f"{self.most_tokens} to {longest}, half of all statements of the {self.split} split"
            )

    def _batch(
        self,
        places: npt.NDArray[np.int64],
        chances: Sequence[np.random.Generator],
        read_tokens: int,
        relevant: bool,
    ) -> TokenBatch:
        targets = np.empty((len(places), read_tokens), dtype=np.int64)
        marks = np.zeros(targets.shape, dtype=np.uint8)
        for row, (place, rng) in enumerate(zip(places.tolist(), chances, strict=True)):
            np.concatenate(self._parts(rng, place, read_tokens, relevant), out=targets[row])
            proof = self._proof_marks(place)
            marks[row, read_tokens - len(proof) :] = proof
        ids = np.empty_like(targets)
        ids[:, 0] = self.tokenizer.end_of_text
        ids[:, 1:] = targets[:, :-1]
        return TokenBatch(ids, targets, self._clusters[places], marks)

    def _parts(
        self, rng: np.random.Generator, place: int, read_tokens: int, relevant: bool
    ) -> list[Ids]:
        """Writes a sample, piece by piece; ``read_tokens`` in all."""
        theorem = self.declarations[place]
        filling = Filling(self._pool, rng, {place, *theorem.uses}, name_parts(theorem.proof))
        lemmas = filling.fill(read_tokens - self._least(place))
        order = rng.permutation(len(theorem.uses) + len(lemmas)).tolist()
        if relevant:
            lemmas += [[self._statements[use], self._separator] for use in theorem.uses]
        else:
            lemmas += [filling.like(len(self._statements[use])) for use in theorem.uses]
        context = chain.from_iterable(lemmas[index] for index in order)
        statement = [self._statements[place], self._separator]
        first, last = (statement, []) if self.order == STATEMENT_FIRST else ([], statement)
        return [*first, *context, *last, self._sign, self._proofs[place]]

    def _proof_marks(self, place: int) -> npt.NDArray[np.uint8]:
        """Returns a mark for each token of a proof; remembered."""
        marks = self._marks.get(place)
        if marks is None:
            theorem = self.declarations[place]
            _, spans = self.tokenizer.encode_with_spans(theorem.proof)
            marks = np.full(len(spans), PROOF, dtype=np.uint8)
            for start, stop in named_spans(
                theorem.proof, [self.declarations[use].name for use in theorem.uses]
            ):
                marks[(spans[:, 0] < stop) & (spans[:, 1] > start)] |= NAME
            self._marks[place] = marks
        return marks


def _known(declarations: Sequence[Declaration]) -> frozenset[str]:
    """Collects what training has word for word: long proofs, short ones with their statements."""
    train = [
        declaration
        for declaration in declarations
        if declaration.split == "train" and declaration.proof
    ]
    return frozenset(
        declaration.proof
        if len(declaration.proof) > _LONG_PROOF
        else f"{declaration.statement}{declaration.proof}"
        for declaration in train
    )
