"""Training text that comes twice: the last segment repeats what the segment before it read.

Ordinary text tells the next block from little of what stood before it, so that what a gradient
brings to the writing and reading of memory is small. Of a text that is read again only memory can
tell the tokens, each at once worth nats. Context compression is trained in the same way: the
in-context autoencoder of Ge et al. 2024 restores a text from its memory in a share of its training.

The segment before is repeated, and no earlier one: what is written once and read once has the
shortest way for a gradient. The repetition begins with the end of a text, where a document would
begin: whoever reads it knows that memory is asked for, and has nothing to guess in ordinary text.
Whoever writes does not know which will follow. A batch repeats as a whole, which tells its loss
apart at no cost.

Shape legend: B batch, N columns read, L segment tokens.
"""

from __future__ import annotations

import numpy as np

from rmtscale.study.tasks.blocks import IGNORED, TokenBatch
from rmtscale.study.training.language.settings import LanguageSettings

_TAG = 0x726570656174
"""So that no other stream of the same seed is this one."""


def share_at(settings: LanguageSettings, step: int) -> float:
    """Returns the share of batches that repeat at a step.

    It is ``repeat_share`` until the share ``repeat_until`` of all steps, and from there falls on a
    line, to 0 after the last step.
    """
    until = settings.repeat_until * settings.steps
    if step < until:
        return settings.repeat_share
    return settings.repeat_share * (settings.steps - step) / (settings.steps - until)


def repeats(settings: LanguageSettings, step: int, segments: int) -> bool:
    """Tells whether the batch of a step repeats: by seed and step; never one of a single segment.

    Args:
        settings: of the training.
        step: 0 or more, below the settings' steps.
        segments: of the batch.
    """
    if not settings.repeat_share or segments < 2:
        return False
    drawn = np.random.default_rng((_TAG, settings.seed, step)).random()
    return bool(drawn < share_at(settings, step))


def repeated(batch: TokenBatch, segment_tokens: int, end_of_text: int) -> TokenBatch:
    """Returns the batch with a last segment that repeats what the one before it read.

    Every token that it scores was read in the segment before. Which columns are scored stays.

    Args:
        batch: of two whole segments or more.
        segment_tokens: L.
        end_of_text: the token that is read ahead of the repetition.
    """
    ids_BN, targets_BN = batch.ids.copy(), batch.targets.copy()
    first = ids_BN.shape[1] - segment_tokens
    again_BL = batch.ids[:, first - segment_tokens : first]
    ids_BN[:, first] = end_of_text
    ids_BN[:, first + 1 :] = again_BL[:, :-1]
    scored_BL = targets_BN[:, first:] != IGNORED
    targets_BN[:, first:] = np.where(scored_BL, again_BL, IGNORED)
    return batch._replace(ids=ids_BN, targets=targets_BN)
