"""The trainable initial memory, and where memory stands among the text of one segment.

Shape legend: B batch, L segment tokens, M memory, T = L plus memory, E embedding width,
D width of what is laid out (E going in, the width of the last hidden state coming out).

Decoder:  ``read*M  text*L  write*M``, both blocks fed the same state; the new state is what comes
out at the write positions. Encoder: ``[CLS]  memory*M  [SEP]  text*L  [SEP]``; the new state is
what comes out at the memory positions (Bulatov et al. 2022 and Bulatov et al. 2024).

A row with less text than the longest keeps its own layout without a gap, and the filling follows
at its end. In a decoder nothing then looks at the filling, so that no mask is needed and every
token has the position it would have alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rmtscale.rmt.compiling import never_compiled


class Memory(nn.Module):
    """The state before the first segment, trained; a row for each of the M memory tokens."""

    def __init__(self, memory_tokens: int, width: int, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.memory_tokens = memory_tokens
        self.width = width
        # None and not an empty parameter: optimizers and DDP stumble over parameters of no size.
        initial_ME = torch.empty(memory_tokens, width, dtype=dtype) if memory_tokens else None
        self.initial_ME = None if initial_ME is None else nn.Parameter(initial_ME)

    @torch.no_grad()
    def reset(self, std: float) -> None:
        """Draws it anew from a normal distribution."""
        if self.initial_ME is not None:
            self.initial_ME.normal_(std=std)

    @torch.no_grad()
    def begin_with(self, trained: Memory) -> None:
        """Takes the rows of a trained memory that has as many or fewer; others stay as they are.

        Trained rows come first: sinks stay sinks, and in a decoder what is written for them does
        not see what is written for the new ones. These keep what was drawn for them, so that no
        two are alike; docs/training.md has what was measured of this and of other ways.

        Args:
            trained: of the same width.
        """
        if trained.initial_ME is not None:
            assert self.initial_ME is not None, "it has as many rows or more"
            self.initial_ME[: trained.memory_tokens] = trained.initial_ME

    @never_compiled
    def forward(self, like: Tensor, batch: int) -> Tensor:
        """The initial state, (B, M, E), on the device and in the dtype of ``like``."""
        if self.initial_ME is None:
            return torch.empty(batch, 0, self.width, dtype=like.dtype, device=like.device)
        initial_ME: Tensor = self.initial_ME
        if not torch.is_grad_enabled():
            # A FLOP counter hooks what a module returns and stumbles over a view of a parameter.
            initial_ME = initial_ME.detach()
        return initial_ME.expand(batch, -1, -1)


def keep_sink(sink_BMD: Tensor, state_BMD: Tensor, sink_tokens: int) -> Tensor:
    """Returns a state with its first ``sink_tokens`` rows taken from another one.

    Args:
        sink_BMD: the state, (B, M, D), that these rows come from, in its own dtype.
        state_BMD: the state that all others come from.
        sink_tokens: 0 is ``state_BMD`` itself.
    """
    if not sink_tokens:
        return state_BMD
    return torch.cat([sink_BMD[:, :sink_tokens], state_BMD[:, sink_tokens:]], dim=1)


def place_BT(lengths_B: Tensor, before: int, longest: int, after: int) -> Tensor:
    """Returns the source of each position of a ragged segment.

    The parts are concatenated as ``before + longest + after`` columns, text padded to ``longest``.
    A row of length l takes ``before``, its l text tokens, then ``after``; the rest is filling.

    Returns:
        Column indices, (B, before + longest + after).
    """
    column_1T = torch.arange(before + longest + after, device=lengths_B.device)[None]
    end_B1 = before + lengths_B[:, None]
    from_after_BT = column_1T + (longest - lengths_B[:, None])
    # Past its end a row repeats column 0: any finite value does, nothing looks at it.
    tail_BT = torch.where(column_1T < end_B1 + after, from_after_BT, torch.zeros_like(column_1T))
    return torch.where(column_1T < end_B1, column_1T, tail_BT)


def take_BTD(values_BTD: Tensor, column_BT: Tensor) -> Tensor:
    """Columns of each row, (B, T, D)."""
    return values_BTD.gather(1, column_BT[..., None].expand(-1, -1, values_BTD.shape[-1]))


def decoder_layout(state_BMD: Tensor, text_BLD: Tensor, lengths_B: Tensor | None) -> Tensor:
    """Joins ``read, text, write``, (B, T, D); ``lengths_B`` None where rows are full."""
    memory, tokens = state_BMD.shape[1], text_BLD.shape[1]
    if not memory:
        return text_BLD
    # Under autocast the state may come out in another dtype than the embeddings.
    state_BMD = state_BMD.to(text_BLD.dtype)
    embeds_BTD = torch.cat([state_BMD, text_BLD, state_BMD], dim=1)
    if lengths_B is None:
        return embeds_BTD
    return take_BTD(embeds_BTD, place_BT(lengths_B, memory, tokens, memory))


def decoder_state(hidden_BTD: Tensor, memory: int, lengths_B: Tensor | None) -> Tensor:
    """Returns the new state: the hidden states at the write positions, (B, M, D)."""
    if lengths_B is None:
        return hidden_BTD[:, hidden_BTD.shape[1] - memory :]
    column_1M = torch.arange(memory, device=lengths_B.device)[None]
    return take_BTD(hidden_BTD, memory + lengths_B[:, None] + column_1M)


def apply_dead_band(state_BMD: Tensor, new_BMD: Tensor, dead_band: float | Tensor) -> Tensor:
    """Returns the new state, or the old one where they are less than ``dead_band`` apart.

    A number that is not finite is never held back, so that an overflow stays visible.

    Args:
        state_BMD: the old state.
        new_BMD: the new one.
        dead_band: of all rows, or (B, 1, 1), one for each; nothing is less than 0 apart.
    """
    if not isinstance(dead_band, Tensor) and not dead_band:
        return new_BMD
    return torch.where((new_BMD - state_BMD).abs() < dead_band, state_BMD, new_BMD)


def last_text(text_BLD: Tensor, lengths_B: Tensor | None) -> Tensor:
    """Returns the hidden state at the last text token of each row, (B, 1, D)."""
    if lengths_B is None:
        return text_BLD[:, -1:]
    return take_BTD(text_BLD, lengths_B[:, None] - 1)


def encoder_layout(
    state_BMD: Tensor, edge_B3D: Tensor, text_BLD: Tensor, lengths_B: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Joins ``[CLS], memory, [SEP], text, [SEP]``, (B, T, D); a mask, (B, T), if needed.

    ``edge_B3D`` are the embeddings of ``[CLS]``, ``[SEP]``, ``[SEP]``.
    """
    memory, tokens = state_BMD.shape[1], text_BLD.shape[1]
    parts = [edge_B3D[:, :1], state_BMD.to(text_BLD.dtype), edge_B3D[:, 1:2], text_BLD]
    embeds_BTD = torch.cat([*parts, edge_B3D[:, 2:]], dim=1)
    if lengths_B is None:
        return embeds_BTD, None
    embeds_BTD = take_BTD(embeds_BTD, place_BT(lengths_B, memory + 2, tokens, 1))
    column_1T = torch.arange(embeds_BTD.shape[1], device=lengths_B.device)[None]
    return embeds_BTD, (column_1T < lengths_B[:, None] + memory + 3).long()


def encoder_state(hidden_BTD: Tensor, memory: int) -> Tensor:
    """Returns the new state: the hidden states at the memory positions, (B, M, D)."""
    return hidden_BTD[:, 1 : 1 + memory]
