"""Made-up documents: words that no task uses, sentences of 3 to 12 of them."""

from __future__ import annotations

import random
from functools import cache


@cache
def made_documents(count: int = 20, sentences: int = 120, seed: int = 0) -> tuple[str, ...]:
    """Documents of random words, none of which is in two documents."""
    chance = random.Random(seed)
    made = []
    for document in range(count):
        words = [f"w{document}x{number}" for number in range(50)]
        texts = [
            " ".join(chance.choice(words) for _ in range(chance.randint(3, 12))).capitalize() + "."
            for _ in range(sentences)
        ]
        made.append(" ".join(texts))
    return tuple(made)
