"""Text of any length: segments are filled token by token and rolled over when they are full.

Shape legend: B batch, G rows of one group, N text columns of the input, L segment tokens,
M memory, E embedding width, V vocabulary.

Segments are filled from the left, as in a stream: the next token is what ``forward`` with
``alignment="left"`` on everything so far predicts. Inside a segment a key-value cache is used; its
write memory is read only when the segment is full, at its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from rmtscale.rmt.arguments import FROM_A_TOKENIZER, require_known, require_text
from rmtscale.rmt.generation_settings import (
    limit,
    new_tokens,
    processors,
    settings,
    token_list,
)
from rmtscale.rmt.graph import require_evaluation
from rmtscale.rmt.open_segment import OpenSegment
from rmtscale.rmt.outputs import RMTGenerateOutput
from rmtscale.rmt.validation import (
    require_memory,
    require_vocabulary,
    text_spans,
)


@dataclass(slots=True)
class _Made:
    """The new tokens of rows with prompts of one length, G of them, and what was asked for beside.

    Scores and logits have one entry for each new token.
    """

    tokens_GK: Tensor
    scores: list[Tensor]
    logits: list[Tensor]
    state_GME: Tensor | None


class _Rows:
    """Where each row's last segment began, and in which state, to close it when all is made."""

    def __init__(self, text_GN: Tensor, state_GME: Tensor, begin: int) -> None:
        self.text = [text_GN]
        self.state_GME = state_GME
        rows = len(text_GN)
        self.begin_G = torch.full((rows,), begin, device=state_GME.device)
        self.end_G = torch.full((rows,), text_GN.shape[1], device=state_GME.device)

    def add(self, next_G: Tensor, done_G: Tensor, embed: Any) -> None:
        """Appends a token to the rows that had not ended before."""
        text_G1 = next_G[:, None]
        self.text.append(embed(text_G1) if self.text[0].is_floating_point() else text_G1)
        self.end_G = self.end_G + (~done_G).long()

    def roll(self, state_GME: Tensor, done_G: Tensor) -> None:
        """Begins a new segment with the newest token, in rows that had not ended before it."""
        self.state_GME = torch.where(done_G[:, None, None], self.state_GME, state_GME)
        self.begin_G = torch.where(done_G, self.begin_G, self.end_G - 1)

    def close(self, model: Any) -> Tensor:
        """Reads what each row has in its last segment; the state after it, (G, M, E)."""
        text_GN = torch.cat(self.text, dim=1)
        lengths_G = self.end_G - self.begin_G
        longest = int(lengths_G.max())
        column_GL = self.begin_G[:, None] + torch.arange(longest, device=text_GN.device)
        column_GL = column_GL.clamp(max=text_GN.shape[1] - 1)
        own_GL = text_GN[torch.arange(len(text_GN), device=text_GN.device)[:, None], column_GL]
        even = bool((lengths_G == longest).all())
        state_GME: Tensor = model.step(self.state_GME, own_GL, None if even else lengths_G)[0]
        return state_GME.to(self.state_GME.dtype)


def _pick(scores_GV: Tensor, config: GenerationConfig, generator: torch.Generator | None) -> Tensor:
    """Returns the next token of each row, (G,)."""
    if not config.do_sample:
        return scores_GV.argmax(dim=-1)
    odds_GV = torch.softmax(scores_GV, dim=-1)
    return torch.multinomial(odds_GV, 1, generator=generator)[:, 0]


def _generate_group(
    model: Any,
    text_GN: Tensor,
    state_GME: Tensor,
    config: GenerationConfig,
    *,
    columns: int,
    count: int,
    pad: int,
    generator: torch.Generator | None,
) -> _Made:
    """Makes up to ``count`` new tokens in rows with prompts of one length, (G, N) or (G, N, E)."""
    size = model.segment_tokens
    # The last segment stays open even when it is full: its last token predicts the next one.
    closed = (text_GN.shape[1] - 1) // size * size
    for start in range(0, closed, size):
        state_GME, _ = model.step(state_GME, text_GN[:, start : start + size])
    segment = OpenSegment(model, state_GME)
    logits_GV = segment.read(text_GN[:, closed:])
    choose = processors(config)
    rows = _Rows(text_GN, state_GME, closed) if config.return_dict_in_generate else None
    ends = token_list(config.eos_token_id)
    end_E = torch.tensor(ends, dtype=torch.long, device=text_GN.device)
    done_G = torch.zeros(text_GN.shape[0], dtype=torch.bool, device=text_GN.device)
    made: list[Tensor] = []
    scores: list[Tensor] = []
    logits: list[Tensor] = []
    # Of embeddings no ids are known: repetition is then looked for in the new tokens.
    all_GN = text_GN.new_empty(len(text_GN), 0).long() if text_GN.ndim == 3 else text_GN
    while True:
        scores_GV = logits_GV.to(torch.promote_types(logits_GV.dtype, torch.float32), copy=True)
        if config.output_logits:
            logits.append(scores_GV.clone())
        scores_GV = limit(scores_GV, config, prompt=columns, made=len(made))
        scores_GV = choose(all_GN, scores_GV)
        if config.output_scores:
            scores.append(scores_GV)
        next_G = _pick(scores_GV, config, generator).masked_fill(done_G, pad)
        made.append(next_G)
        if rows is not None:
            rows.add(next_G, done_G, model.embed)
        had_ended_G = done_G
        if ends:
            done_G = done_G | torch.isin(next_G, end_E)
        if len(made) == count or (ends and bool(done_G.all())):
            if rows is not None and segment.tokens == size:
                rows.roll(segment.close(), had_ended_G)
            state = None if rows is None else rows.close(model)
            return _Made(torch.stack(made, dim=1), scores, logits, state)
        if choose:
            all_GN = torch.cat([all_GN, next_G[:, None]], dim=1)
        if segment.tokens == size:
            segment = OpenSegment(model, segment.close())
            if rows is not None:
                rows.roll(segment.state_GME, had_ended_G)
        logits_GV = segment.read(next_G[:, None])


@torch.no_grad()
def generate(
    model: Any,
    input_ids: Tensor | None = None,
    attention_mask: Tensor | None = None,
    memory: Tensor | None = None,
    *,
    inputs_embeds: Tensor | None = None,
    generation_config: GenerationConfig | None = None,
    generator: torch.Generator | None = None,
    **given: Any,
) -> Tensor | RMTGenerateOutput:
    """See ``RMTForCausalLM.generate``."""
    require_evaluation(model)
    if input_ids is None:
        input_ids = given.pop("inputs", None)  # as Transformers calls it
    from_tokenizer = {name: given.pop(name) for name in sorted(given.keys() & FROM_A_TOKENIZER)}
    require_known("generate", from_tokenizer, "input_ids, inputs_embeds, attention_mask, memory")
    weight = model.embedding_VE
    text_BN = require_text(input_ids, inputs_embeds, weight)
    batch, columns = text_BN.shape[:2]
    if memory is not None:
        require_memory(memory, batch, model.config.memory_tokens, weight)
    spans = text_spans(text_BN, attention_mask)
    require_vocabulary(text_BN, model.vocabulary)
    config = settings(
        generation_config or getattr(model.backbone, "generation_config", None), given
    )
    count = new_tokens(config, columns)
    ends = token_list(config.eos_token_id)
    pads = (*token_list(config.pad_token_id), *ends, 0)

    state_BME = model.memory(weight, batch) if memory is None else memory
    groups: list[tuple[list[int], _Made]] = []
    # Rows with prompts of one length fill and roll over their segments together.
    for length in sorted(set(spans.lengths)):
        rows = [row for row in range(batch) if spans.lengths[row] == length]
        texts = [text_BN[row, spans.offsets[row] : spans.offsets[row] + length] for row in rows]
        own = _generate_group(
            model,
            torch.stack(texts),
            state_BME[rows],
            config,
            columns=columns,
            count=count,
            pad=pads[0],
            generator=generator,
        )
        groups.append((rows, own))
    longest = max(own.tokens_GK.shape[1] for _, own in groups)
    made_BK = torch.full((batch, longest), pads[0], dtype=torch.long, device=text_BN.device)
    for rows, own in groups:
        made_BK[rows, : own.tokens_GK.shape[1]] = own.tokens_GK
    sequences = made_BK
    if inputs_embeds is None:
        sequences = torch.cat([text_BN, made_BK.to(text_BN.dtype)], dim=1)
    if not config.return_dict_in_generate:
        return sequences
    state_BME = state_BME.clone()
    for rows, own in groups:
        assert own.state_GME is not None, "asked for"
        state_BME[rows] = own.state_GME
    return RMTGenerateOutput(
        sequences=sequences,
        scores=_by_step(groups, batch, "scores") if config.output_scores else None,
        logits=_by_step(groups, batch, "logits") if config.output_logits else None,
        memory=state_BME,
    )


def _by_step(groups: list[tuple[list[int], _Made]], batch: int, what: str) -> tuple[Tensor, ...]:
    """Joins values of the groups, (B, V) for each new token; 0 in groups that had ended."""
    steps: list[Tensor] = []
    for rows, own in groups:
        for index, values_GV in enumerate(getattr(own, what)):
            if index == len(steps):
                steps.append(values_GV.new_zeros(batch, values_GV.shape[1]))
            steps[index][rows] = values_GV
    return tuple(steps)
