"""Evaluations of language models that nobody trained: clearly synthetic, for tests only.

The law: a token with ``c`` tokens of true context before its block and ``p`` within it costs
``1.3 + 3 (p + 1 + c)**-0.4`` nats; memory is worth some tokens of context, fewer than it read.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from rmtscale.records.measurement import Memory
from rmtscale.study.records.clusters import Part
from rmtscale.study.records.language import LanguageModel, LanguagePoint, LanguageRecord
from tests.synthetic.records import environment

MIB = 1024**2
DOCUMENTS = 12
COUNTS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 28, 32)
CONTEXTS = (4, 128, 384, 900)
SAMPLES = 240
BYTES_PER_TOKEN = 3
Law = Callable[[int], float]
"""Loss by position in the block."""

_POINT = (
    "task options weights text split segments segment_tokens block_tokens history_tokens samples"
).split() + ["precision", "device", "compile_step"]
_MODEL = (
    "name backbone segment_size memory_tokens sink_tokens parameters trainable_parameters "
    "trained_segments trained_start_segments trained_weights trained_mixing trained_steps "
    "trained_repeat_share trained_repeat_until trained_tokens trained_flops "
    "trained_seconds trained_peak_bytes seed"
).split()


def nats(position: int, context: float) -> float:
    """The law."""
    return 1.3 + 3.0 * math.pow(position + 1 + context, -0.4)


def remembered(segments: int, trained: int, block: int) -> float:
    """Tokens of true context that a memory of the segments before is worth."""
    useful = min(segments - 1, trained - 1)
    return 0.25 * block * (1 - 0.3**useful)


def language(segments: int = 1, *, law: Law | None = None, **values: Any) -> LanguageRecord:
    """An RMT with 128 positions trained on 7 segments, mixed, seed 0, but for what is given.

    Args:
        segments: read.
        law: of the loss; None is the module's own.
        values: fields of point, model or record, and ``shift``, nats added to every token.
    """
    shift = values.pop("shift", 0.0)
    size, memory = values.get("segment_size", 128), values.get("memory_tokens", 2)
    trained, seed = values.get("trained_segments", 7), values.get("seed", 0)
    mixing = values.get("trained_mixing", True)
    block = values.get("block_tokens", size - 2 * memory)
    if law is None:
        context = remembered(segments, trained, block) if memory else size - block

        def law(position: int, context: float = context) -> float:
            late = 0.02 if not mixing and segments < trained else 0.0
            # More segments in training are worth a little everywhere, as in the paper.
            early = 0.01 * (trained - 1) + 0.004 * max(math.log2(segments / trained), 0.0)
            return nats(position, context) + late - (early if memory else 0.0)

    positions = tuple(law(at) + shift + 0.004 * seed for at in range(block))
    name = f"synthetic-{block}-{size}-{memory}-{trained}-{'mixing' if mixing else 'fixed'}-{seed}"
    mean = sum(positions) / block
    rate = 2e6 + 400 * size
    flops = round(segments * size * rate)
    point = {
        "task": "language-modeling",
        "weights": values.get("name", name),
        "text": "synthetic",
        "segments": segments,
        "segment_tokens": size - 2 * memory,
        "block_tokens": block,
        "history_tokens": 4096,
        "samples": SAMPLES,
        "precision": "bf16",
        "device": "cuda",
    }
    model = {
        "name": name,
        "backbone": "gpt-synthetic",
        "segment_size": size,
        "memory_tokens": memory,
        "parameters": 3_000_000,
        "trainable_parameters": 3_000_000,
        "trained_segments": trained,
        "trained_mixing": mixing,
        "trained_steps": 4000,
        "trained_tokens": 4000 * 64 * block * trained,
        "trained_flops": 10**15 * trained,
        "trained_seconds": 400.0 * trained,
        "trained_peak_bytes": 900 * MIB * trained,
        "seed": seed,
    }
    record = {
        "evaluated_at": "2025-01-01T00:00:00+00:00",
        "parts": {"all": part(mean, SAMPLES * block, f"{name}-{segments}")},
        "position_nats": positions,
        "forward_flops": flops,
        "batch_size": 64,
        "seconds": SAMPLES * (flops / 2e13 + 1e-6 * segments),
        "tokens_per_second": 1e6,
        "memory": Memory(peak_allocated_bytes=200 * MIB),
        "environment": environment(),
    }
    point |= {key: values.pop(key) for key in list(values) if key in _POINT}
    model |= {key: values.pop(key) for key in list(values) if key in _MODEL}
    return LanguageRecord(
        point=LanguagePoint(**point), model=LanguageModel(**model), **{**record, **values}
    )


def part(mean: float, tokens: int, salt: str, spread: float = 0.002) -> Part:
    """Tokens spread over documents, some harder than others; a little noise of each reading."""
    noise = random.Random(salt)
    counts = [tokens // DOCUMENTS] * DOCUMENTS
    harder = [0.15 * math.sin(1 + document) for document in range(DOCUMENTS)]
    middle = sum(harder) / DOCUMENTS
    losses = [
        count * (mean + hard - middle + noise.gauss(0, spread))
        for count, hard in zip(counts, harder, strict=True)
    ]
    return Part(
        tokens=tuple(counts),
        text_bytes=tuple(BYTES_PER_TOKEN * count for count in counts),
        loss_nats=tuple(losses),
    )


def curve(counts: Iterable[int] = COUNTS, **values: Any) -> list[LanguageRecord]:
    """A record of each number of segments read."""
    return [language(count, **values) for count in counts]


def baseline(context: int = 4, **values: Any) -> LanguageRecord:
    """A model without memory that sees so many true tokens before the block."""
    block = values.pop("block_tokens", 124)
    size = block + context
    given = {"memory_tokens": 0, "trained_segments": 1, "block_tokens": block, **values}
    return language(1, segment_size=size, **given)


def shifted(
    records: Iterable[LanguageRecord],
    nats_of: Callable[[LanguageRecord], float],
    *parts: str,
) -> list[LanguageRecord]:
    """The same records with more nats on each token of some parts (all, if none is named)."""

    def more(record: LanguageRecord) -> LanguageRecord:
        nats_more = nats_of(record)
        changed = {}
        for name, one in record.parts.items():
            by = nats_more if name in (parts or ("all",)) else 0.0
            losses = zip(one.loss_nats, one.tokens, strict=True)
            changed[name] = replace(
                one, loss_nats=tuple(loss + by * count for loss, count in losses)
            )
        return replace(record, parts=changed)

    return [more(record) for record in records]


def study(
    sizes: Sequence[int] = (128, 512),
    trained: Iterable[int] = range(1, 8),
    seeds: Iterable[int] = (0, 1),
    counts: Iterable[int] = COUNTS,
    contexts: Iterable[int] = CONTEXTS,
    **values: Any,
) -> list[LanguageRecord]:
    """Both input sizes: memory trained on 1 to 7 segments, baselines of several contexts."""
    trained, seeds = tuple(trained), tuple(seeds)
    counts, contexts = tuple(counts), tuple(contexts)
    found = []
    for size in sizes:
        for seed in seeds:
            found += [baseline(context, block_tokens=size - 4, seed=seed) for context in contexts]
            for many in trained:
                given = {"segment_size": size, "trained_segments": many, "seed": seed, **values}
                found += curve(counts, **given)
    return found


def proof(segments: int, **values: Any) -> LanguageRecord:
    """Lemma-proof: statement, lemmas, proof in so many segments, all of it scored.

    Args:
        segments: read.
        values: as of ``language``; ``shift`` nats on all parts, ``recalled`` nats that a relevant
            lemma in the context takes off its name.
    """
    memory, shift = values.get("memory_tokens", 10), values.pop("shift", 0.0)
    trained, seed = values.get("trained_segments", 4), values.get("seed", 0)
    size = 256 if memory else 236
    tokens = segments * 236
    # Memory carries what was read, as far as was trained; without it each segment stands alone.
    useful = min(segments, trained) if memory else 1
    recalled = values.pop("recalled", 0.3 - 0.2 / useful if memory else 0.1)
    mean = 1.2 + 0.5 * useful**-0.5 + shift + 0.004 * seed
    # More segments in training are more targets.
    mean -= 0 if memory else 0.01 * trained
    base = {
        "segment_size": size,
        "memory_tokens": memory,
        "trained_segments": trained,
        "trained_tokens": 4000 * 32 * 236 * trained,
        "block_tokens": tokens,
        "segment_tokens": 236,
        "task": "lemma-proof",
        "text": "synthetic-lemmas",
        "history_tokens": 0,
        "backbone": "gpt-neo-synthetic",
    }
    salt = f"{memory}-{trained}-{seed}-{segments}"
    unknown = 2.4 + shift - (0.02 * useful if memory else 0.0)
    base["parts"] = {
        "all": part(mean, SAMPLES * tokens, f"all-{salt}"),
        "last-segment": part(mean - 0.1, SAMPLES * 236, f"last-{salt}"),
        "proof": part(mean - 0.05, SAMPLES * 120, f"proof-{salt}"),
        "names": part(unknown - recalled, SAMPLES * 12, f"names-{salt}", 0.03),
        "names-without": part(unknown, SAMPLES * 12, f"without-{salt}", 0.03),
    }
    return language(segments, law=lambda _: mean, **{**base, **values})


def proofs(
    trained: Iterable[int] = (2, 4, 6),
    seeds: Iterable[int] = (0, 1),
    counts: Iterable[int] = (1, 2, 3, 4, 6, 8),
    **values: Any,
) -> list[LanguageRecord]:
    """With memory and without, each trained on so many segments, and one pass over two.

    Args:
        trained: segments in training.
        seeds: of each.
        counts: segments read.
        values: of those with memory.
    """
    trained, counts, found = tuple(trained), tuple(counts), []
    for seed in seeds:
        for many in trained:
            given = {"trained_segments": many, "seed": seed}
            found += [proof(count, **given, **values) for count in counts]
            found += [proof(count, memory_tokens=0, **given) for count in counts]
        found.append(one_pass(seed=seed))
    return found


def one_pass(**values: Any) -> LanguageRecord:
    """Without memory, over the text of two segments: a little lower than two apart."""
    given: dict[str, Any] = {
        "memory_tokens": 0,
        "segment_size": 472,
        "segment_tokens": 472,
        "trained_segments": 1,
    }
    given |= {"trained_tokens": 4000 * 32 * 472, "shift": -0.2}
    read = proof(2, **given, **values)
    return replace(read, point=replace(read.point, segments=1))
