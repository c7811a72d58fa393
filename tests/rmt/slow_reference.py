"""A slow, obvious RMT: one sample after another, one segment after another, everything explicit.

Shares nothing with ``rmtscale.rmt`` but the backbone: cuts by itself, lays out token by token,
gives explicit masks, keeps all logits, sums the loss label by label.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch


def cut_text(text: Iterable[int], size: int, alignment: str) -> list[list[int]]:
    """The segments of one sample as lists of ids."""
    text = list(text)
    if alignment == "left":
        return [text[i : i + size] for i in range(0, len(text), size)]
    parts: list[list[int]] = []
    while text:
        parts.insert(0, text[-size:])
        text = text[:-size]
    return parts


def run(base: Any, embeds: list[torch.Tensor]) -> torch.Tensor:
    """Last hidden states of one sequence, with an explicit mask."""
    ones = torch.ones(1, len(embeds), dtype=torch.long)
    out = base(inputs_embeds=torch.stack(embeds)[None], attention_mask=ones)
    hidden: torch.Tensor = out.last_hidden_state[0]
    return hidden


def held(old: torch.Tensor, new: torch.Tensor, band: float) -> torch.Tensor:
    """The new vector, but its old number wherever the two are less than ``band`` apart."""
    chosen = []
    for before, after in zip(old, new, strict=True):
        apart = float((after - before).abs().detach())
        chosen.append(before if apart < band else after)
    return torch.stack(chosen)


def cut_here(index: int, count: int, depth: int | None) -> bool:
    """Whether the state is detached before segment ``index`` of ``count``."""
    return depth is not None and index > 0 and (count - index) % depth == 0


def decoder(
    backbone: Any,
    initial: Sequence[torch.Tensor] | torch.Tensor,
    ids: torch.Tensor,
    mask: torch.Tensor,
    labels: torch.Tensor,
    *,
    size: int,
    alignment: str = "right",
    loss_on: str = "all",
    loss_mask: torch.Tensor | None = None,
    depth: int | None = None,
    memory: torch.Tensor | None = None,
    band: float = 0.0,
    sink: int = 0,
) -> tuple[torch.Tensor | None, list[torch.Tensor], list[torch.Tensor]]:
    """Mean loss, logits of each text token of each sample, memory of each sample."""
    embed, head, base = (
        backbone.get_input_embeddings(),
        backbone.get_output_embeddings(),
        backbone.base_model,
    )
    m = len(initial)
    losses: list[torch.Tensor] = []
    all_logits: list[torch.Tensor] = []
    states: list[torch.Tensor] = []
    for row in range(len(ids)):
        columns = [c for c in range(ids.shape[1]) if mask[row, c]]
        parts = cut_text(columns, size - 2 * m, alignment)
        state = list(initial if memory is None else memory[row])
        logits, of_segment = [], []
        for index, part in enumerate(parts):
            if cut_here(index, len(parts), depth):
                state = [vector.detach() for vector in state]
            state = [*initial[:sink], *state[sink:]]
            text = [embed(ids[row, column]) for column in part]
            hidden = run(base, [*state, *text, *state])
            for position in range(len(part)):
                logits.append(head(hidden[m + position]))
                of_segment.append(index)
            new = [hidden[m + len(part) + k] for k in range(m)]
            state = [held(*pair, band) for pair in zip(state, new, strict=True)]
            state = [*initial[:sink], *state[sink:]]
        for position in range(1, len(columns)):
            label = int(labels[row, columns[position]])
            if label == -100 or (loss_mask is not None and not loss_mask[row, columns[position]]):
                continue
            if loss_on == "last" and of_segment[position - 1] != len(parts) - 1:
                continue
            losses.append(-torch.log_softmax(logits[position - 1], -1)[label])
        all_logits.append(torch.stack(logits))
        states.append(torch.stack(state) if m else ids.new_zeros(0))
    loss = torch.stack(losses).sum() / len(losses) if losses else None
    return loss, all_logits, states


def encoder(
    backbone: Any,
    initial: Sequence[torch.Tensor] | torch.Tensor,
    ids: torch.Tensor,
    mask: torch.Tensor,
    labels: torch.Tensor,
    *,
    size: int,
    cls: int,
    sep: int,
    alignment: str = "right",
    depth: int | None = None,
    band: float = 0.0,
    sink: int = 0,
) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """Mean cross-entropy, logits of each sample, memory of each sample."""
    embed, base = backbone.get_input_embeddings(), backbone.base_model
    m, all_logits, states = len(initial), [], []
    for row in range(len(ids)):
        text = [int(i) for i, real in zip(ids[row], mask[row], strict=True) if real]
        parts = cut_text(text, size - m - 3, alignment)
        state = list(initial)
        for index, part in enumerate(parts):
            if cut_here(index, len(parts), depth):
                state = [vector.detach() for vector in state]
            state = [*initial[:sink], *state[sink:]]
            one = [embed(torch.tensor(token)) for token in (cls, sep)]
            words = [embed(torch.tensor(token)) for token in part]
            hidden = run(base, [one[0], *state, one[1], *words, one[1]])
            new = [hidden[1 + k] for k in range(m)]
            state = [held(*pair, band) for pair in zip(state, new, strict=True)]
            state = [*initial[:sink], *state[sink:]]
        if backbone.config.model_type == "bert":
            logits = backbone.classifier(backbone.bert.pooler(hidden[None]))[0]
        else:
            mean = backbone.config.classifier_pooling == "mean"
            pooled = hidden.mean(0) if mean else hidden[0]
            logits = backbone.classifier(backbone.head(pooled))
        all_logits.append(logits)
        states.append(torch.stack(state) if m else ids.new_zeros(0))
    logits = torch.stack(all_logits)
    loss = -torch.log_softmax(logits, -1)[torch.arange(len(ids)), labels].mean()
    return loss, logits, states
