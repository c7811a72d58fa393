"""Statements that have nothing to do with a proof, to fill a sample with.

Each is taken at most once for a sample, and none whose own name stands in the proof.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from rmtscale.errors import BadInput
from rmtscale.study.tasks.tokenizer import Ids

_DRAWN_AT_ONCE = 64
_NEAREST = 32
"""How many statements, the next longer ones among them, one of some length is looked for in."""


class Pool:
    """Statements to choose from.

    Args:
        places: of the declarations whose statements these are.
        own_names: of all declarations, by place: without namespaces.
        statements: token ids, by place.
        separator: token ids that follow each statement.
    """

    def __init__(
        self,
        places: Sequence[int],
        own_names: Sequence[str],
        statements: Mapping[int, Ids],
        separator: Ids,
    ) -> None:
        self.places = np.array(places, dtype=np.int64)
        self.own_names, self.statements, self.separator = own_names, statements, separator
        lengths = np.array([len(statements[place]) for place in places], dtype=np.int64)
        order = np.argsort(lengths, kind="stable")
        self.by_length, self.lengths = self.places[order], lengths[order]
        self.tokens = int(lengths.sum()) + len(places) * len(separator)
        """Tokens of all statements and of the separator after each."""


class Filling:
    """Fills one sample.

    Args:
        pool: to choose from.
        rng: source of chance.
        left_out: places that must not be taken.
        words: own names that must not be taken.
    """

    def __init__(
        self, pool: Pool, rng: np.random.Generator, left_out: set[int], words: frozenset[str]
    ) -> None:
        self._pool, self._rng, self._words = pool, rng, words
        self._taken = set(left_out)
        self._others = self._shuffled()

    def fill(self, tokens: int) -> list[list[Ids]]:
        """Random statements, each with its separator, of exactly so many tokens together.

        The last statement is cut at its end to fit, down to part of its separator.

        Raises:
            BadInput: all that may be taken have fewer.
        """
        statements: list[list[Ids]] = []
        separator, missing = self._pool.separator, tokens
        while missing > 0:
            place = next(self._others, None)
            if place is None:
                raise BadInput(
                    f"{missing} tokens more than there are other statements for: expected shorter "
                    "samples or more declarations"
                )
            statement = self._pool.statements[place][: max(missing - len(separator), 0)]
            statements.append([statement, separator[-missing:]])
            missing -= len(statement) + len(statements[-1][1])
        return statements

    def like(self, tokens: int) -> list[Ids]:
        """Draws a random statement of ``tokens`` tokens and its separator.

        Of those as long, or of the next longer ones, cut at the end; where there is none, several.
        """
        pool = self._pool
        low = int(np.searchsorted(pool.lengths, tokens, side="left"))
        high = int(np.searchsorted(pool.lengths, tokens, side="right"))
        near = pool.by_length[low : max(high, low + _NEAREST)]
        for place in self._rng.permutation(near).tolist():
            if self._take(place):
                return [pool.statements[place][:tokens], pool.separator]
        return [ids for statement in self.fill(tokens + len(pool.separator)) for ids in statement]

    def _take(self, place: int) -> bool:
        if place in self._taken or self._pool.own_names[place] in self._words:
            return False
        self._taken.add(place)
        return True

    def _shuffled(self) -> Iterator[int]:
        """Yields places in random order, each once; few are drawn where few are asked for."""
        places = self._pool.places
        for _ in range(2 * len(places) // _DRAWN_AT_ONCE):
            drawn = self._rng.integers(len(places), size=_DRAWN_AT_ONCE)
            yield from filter(self._take, places[drawn].tolist())
        yield from filter(self._take, self._rng.permutation(places).tolist())
