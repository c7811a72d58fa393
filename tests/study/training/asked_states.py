"""What a state says that is asked alone, as ``replay_lost`` asks, and at the end of a segment.

``python -m tests.study.training.asked_states CHECKPOINT --background prose``.

A burn-in with ``replay_lost`` asks each state on the way the bare question, and a sample begins
again where the answer is first wrong. In training and evaluation the question stands at the end of
a full segment. Here each state after the last fact is asked both ways. Written are the shares of
right answers, and how many samples each way calls lost that still know the answer at the end.

Shape legend: B batch, R segments before the one that asks, L segment tokens, M memory, E embedding
width, Q tokens of the question.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from rmtscale.intervals import wilson_interval
from rmtscale.rmt.segmenting import cut
from rmtscale.study.evaluation.evaluate import data_of
from rmtscale.study.training.memory_tasks.checkpoint import load_checkpoint
from rmtscale.study.training.memory_tasks.replay import first_segments, right_answers
from rmtscale.study.training.rolling import Roller

WAYS = ("alone", "in a segment")


class Asked(NamedTuple):
    """What one way of asking says of some samples."""

    states: int
    """After the last fact of their samples."""
    right: int
    lost: int
    """Samples that it calls lost on the way, of those that know the answer at the end."""
    known: int
    """Samples that know the answer at the end, asked in a segment."""


def ask(
    checkpoint: Path, background: str, segments: int, samples: int, batch_size: int
) -> dict[str, Asked]:
    """Asks the states of validation samples both ways, whole batches of them."""
    loaded = load_checkpoint(checkpoint)
    answerer, data = loaded.answerer, data_of(loaded, background)
    roller = Roller(answerer, torch.device("cpu"))
    tokens = (segments + 1) * answerer.segment_tokens
    bounds = cut(tokens, answerer.segment_tokens)
    batches = data.batches(
        tokens, answerer.segment_tokens, split="validation", batch_size=batch_size
    )
    found = dict.fromkeys(WAYS, Asked(0, 0, 0, 0))
    for number in range(-(-samples // batch_size)):
        drawn = batches.batch(number)
        last_BL = torch.from_numpy(drawn.ids[:, bounds[-1][0] :])
        question_BQ = last_BL[:, -data.question_tokens :]
        answers_B = torch.from_numpy(drawn.answers)
        # Before the last fact of all a state need not know the answer.
        read_B = torch.from_numpy(drawn.fact_positions.max(1) // answerer.segment_tokens)
        after_RB = torch.arange(segments)[:, None] >= read_B
        with torch.no_grad():
            initial_BME = answerer.initial(batch_size)
            states_RBME = roller.states(initial_BME, drawn.ids, bounds[:-1])[1:]
            said = [answerer.answer(answerer.step(one, last_BL)[1]) for one in states_RBME]
        whole_RB = torch.stack([logits.argmax(1) == answers_B for logits in said])
        alone_RB = right_answers(answerer, roller, states_RBME, question_BQ, answers_B)
        known_B = whole_RB[-1] & after_RB[-1]
        for way, right_RB in zip(WAYS, (alone_RB, whole_RB), strict=True):
            new = _counted(right_RB, after_RB, read_B, known_B)
            found[way] = Asked(*(old + more for old, more in zip(found[way], new, strict=True)))
    return found


def _counted(right_RB: Tensor, after_RB: Tensor, read_B: Tensor, known_B: Tensor) -> Asked:
    lost_B = first_segments(right_RB, read_B) < len(right_RB)
    counts = after_RB, right_RB & after_RB, lost_B & known_B, known_B
    return Asked(*(int(one.sum()) for one in counts))


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--background", default="prose")
    parser.add_argument("--segments", type=int, default=32)
    parser.add_argument("--samples", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=32)
    given = vars(parser.parse_args(arguments))
    for way, asked in ask(**given).items():
        low, high = wilson_interval(asked.right, asked.states)
        sys.stdout.write(
            f"asked {way}: {100 * asked.right / asked.states:.2f} % of {asked.states:,} states "
            f"right ({100 * low:.2f} to {100 * high:.2f} if they were independent); {asked.lost} "
            f"of {asked.known} that know the answer at the end are called lost on the way\n"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
