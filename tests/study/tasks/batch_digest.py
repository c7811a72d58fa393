"""A batch as a number: a process that compares one loads this, and no library of tests."""

from __future__ import annotations

from hashlib import sha256

from rmtscale.study.tasks.batches import Batches
from rmtscale.study.tasks.catalog import make_task
from rmtscale.study.tasks.noise import Noise
from rmtscale.study.tasks.vocabulary import Vocabulary
from tests.study.tasks.made_noise import made_documents


def digest() -> str:
    """Of everything a run reads, made from nothing but the seed."""
    task = make_task("reasoning")
    vocabulary = Vocabulary.build(made_documents(), 900, task.words())
    noise = Noise(made_documents(), vocabulary)
    batch = Batches(task, vocabulary, noise, 300, 4, 1, 100).batch(5)
    return sha256(b"".join(part.tobytes() for part in batch)).hexdigest()
