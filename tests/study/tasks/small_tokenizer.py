"""Made-up documents of spoken words, and a tokenizer trained on them in a moment."""

from __future__ import annotations

import random
from functools import cache

from rmtscale.study.tasks.tokenizer import TextTokenizer, train_tokenizer


@cache
def spoken_documents(count: int = 20, words: int = 300) -> tuple[str, ...]:
    """Documents of words of one to four syllables, with full stops and a line now and then."""
    chance = random.Random(1)
    syllables = [a + b for a in "bdfklmnprstvz" for b in "aeiou"]
    made = []
    for _ in range(count):
        spoken = ("".join(chance.choices(syllables, k=chance.randint(1, 4))) for _ in range(words))
        made.append("".join(word + chance.choice((" ", " ", " ", ". ", "\n")) for word in spoken))
    return tuple(made)


@cache
def small_tokenizer() -> TextTokenizer:
    """400 ids."""
    return train_tokenizer(spoken_documents(), 400)
