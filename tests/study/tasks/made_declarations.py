"""A made-up library of lemmas: every statement is another, every proof names what it uses."""

from __future__ import annotations

import random
from functools import cache

from rmtscale.study.tasks.declaration import Declaration, training_texts
from rmtscale.study.tasks.tokenizer import TextTokenizer, train_tokenizer

FILES = {"a": "train", "b": "train", "c": "train", "d": "validation", "e": "test"}


@cache
def made_declarations(count: int = 400) -> tuple[Declaration, ...]:
    """Files one after the other; uses go to any file; some have no proof, some use nothing."""
    chance = random.Random(2)
    syllables = [a + b for a in "bdfklmnprstvz" for b in "aeiou"]

    def word() -> str:
        return "".join(chance.choices(syllables, k=chance.randint(2, 3)))

    files = sorted(chance.choices("abcccde", k=count))
    names = [f"{word()}.{word()}{number}" for number in range(count)]
    made = []
    for place, file in enumerate(files):
        others = [one for one in range(count) if one != place]
        uses = chance.sample(others, chance.choice((0, 1, 1, 2, 3)))
        written = [names[use] if chance.random() < 0.5 else own(names[use]) for use in uses]
        named = [f"{name}{chance.choice(('', '.symm', ' h'))}" for name in written]
        proof = f"by {word()}, [{', '.join([*named, word(), *named[:1]])}] {word()}"
        statement = (
            f"lemma {own(names[place])} {' '.join(word() for _ in range(chance.randint(1, 9)))}"
        )
        made.append(
            Declaration(
                names[place],
                statement,
                proof if chance.random() < 0.9 else "",
                tuple(uses),
                file,
                FILES[file],
            )
        )
    return tuple(made)


def own(name: str) -> str:
    return name.rpartition(".")[2]


@cache
def lemma_tokenizer() -> TextTokenizer:
    """400 ids, of the training split; what stands between statements is one of them."""
    return train_tokenizer(training_texts(made_declarations()), 400)
