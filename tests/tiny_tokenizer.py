"""A tokenizer of the tasks' own words, saved as a pretrained backbone's is."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import BertPreTokenizer

from rmtscale.study.tasks.catalog import make_task
from tests.tiny_training import WORDS


def save_tokenizer(folder: Path, *, without: str = "", unused: int = 0) -> int:
    """Writes it and counts its ids; so many unused ones stand first, as in BERT's own."""
    words = [f"[unused{index}]" for index in range(unused)]
    words += ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *make_task("memorize").words()]
    words += [f"w{index}" for index in range(WORDS)]
    words = [word for word in dict.fromkeys(words) if word != without]
    # Capitals as they stand in the stories: this tokenizer keeps them.
    words += sorted({word.capitalize() for word in words if word.isalpha()} - set(words))
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    return len(words)
