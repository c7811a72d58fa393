"""The mixing of methods that no library has, written plainly from the papers' equations.

On ``meta``: shapes without numbers, so that only what is multiplied matters. Softmax, gates, masks
and positions are left out where they multiply no matrices. Weights are made where they are used.

Shape legend: S tokens, G global tokens, K keys, D model width, Q heads x head width, H heads,
C head width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

from rmtscale.specs.model import ModelSpec


def new(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")


def linear(x_SD: Tensor, columns: int) -> Tensor:
    return x_SD @ new(x_SD.shape[1], columns)


def split(x_SQ: Tensor, width: int) -> Tensor:
    """(H, S, C)"""
    return x_SQ.reshape(x_SQ.shape[0], -1, width).transpose(0, 1)


def attend(model: ModelSpec, q_SQ: Tensor, k_KQ: Tensor, v_KQ: Tensor) -> Tensor:
    """Every query with every key; (S, Q)."""
    q_HSC, k_HKC, v_HKC = (split(x, model.head_width) for x in (q_SQ, k_KQ, v_KQ))
    found_HSC = torch.softmax(q_HSC @ k_HKC.transpose(1, 2), dim=-1) @ v_HKC
    return found_HSC.transpose(0, 1).reshape(q_SQ.shape[0], -1)


def attend_near(model: ModelSpec, q_SQ: Tensor, k_SQ: Tensor, v_SQ: Tensor, size: int) -> Tensor:
    """Every query with ``size`` keys around it, gathered for it alone."""
    near_SKQ = [x.unsqueeze(1).expand(-1, size, -1) for x in (k_SQ, v_SQ)]
    rows = []
    for x in near_SKQ:  # (H*S, K, C)
        per_head = x.reshape(*x.shape[:2], -1, model.head_width).permute(2, 0, 1, 3)
        rows.append(per_head.reshape(-1, size, model.head_width))
    q_R1C = split(q_SQ, model.head_width).reshape(-1, 1, model.head_width)
    return torch.softmax(q_R1C @ rows[0].transpose(1, 2), dim=-1) @ rows[1]


def qkv(model: ModelSpec, x_SD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return (
        linear(x_SD, model.query_width),
        linear(x_SD, model.query_width),
        linear(x_SD, model.query_width),
    )


def attend_blocks(
    model: ModelSpec, q_SQ: Tensor, k_SQ: Tensor, v_SQ: Tensor, block: int, before: int, after: int
) -> None:
    """Blocks of queries with their own and neighbouring blocks of keys; all of it padded."""
    missing = -q_SQ.shape[0] % block
    q_SQ, k_SQ, v_SQ = (pad(x, (0, 0, 0, missing)) for x in (q_SQ, k_SQ, v_SQ))
    k_SQ, v_SQ = (pad(x, (0, 0, before * block, after * block)) for x in (k_SQ, v_SQ))
    for start in range(0, q_SQ.shape[0], block):
        keys = slice(start, start + (before + 1 + after) * block)
        attend(model, q_SQ[start : start + block], k_SQ[keys], v_SQ[keys])


def sliding_window(model: ModelSpec, tokens: int, window: int) -> None:
    """Jiang et al. 2023, section 2."""
    q, k, v = qkv(model, new(tokens, model.width))
    attend_near(model, q, k, v, window)
    linear(q, model.width)


def etc(model: ModelSpec, tokens: int, global_tokens: int, radius: int) -> None:
    """Ainslie et al. 2020, Figure 2: four pieces."""
    q, k, v = qkv(model, new(global_tokens + tokens, model.width))
    long, seen = slice(global_tokens, None), slice(0, global_tokens)
    attend(model, q[seen], k[seen], v[seen])
    attend(model, q[seen], k[long], v[long])
    attend(model, q[long], k[seen], v[seen])
    attend_near(model, q[long], k[long], v[long], 2 * radius + 1)
    linear(q, model.width)


def colt5(model: ModelSpec, tokens: int, radius: int) -> None:
    """Ainslie et al. 2023, section 3.2: light heads for all, heavy ones for the routed."""
    x_SD = new(tokens, model.width)
    light = model.heads // 4 * model.head_width
    heavy = model.query_width - light
    linear(x_SD, 2)
    q, k, v = linear(x_SD, light), linear(x_SD, light), linear(x_SD, light)
    attend_blocks(model, q, k, v, radius + 1, 1, 1)
    linear(q, model.width)
    queries, keys = x_SD[: -(-tokens // 16)], x_SD[: -(-tokens // 8)]
    found = attend(model, linear(queries, heavy), linear(keys, heavy), linear(keys, heavy))
    linear(found, model.width)


def longnet(
    model: ModelSpec, tokens: int, segments: tuple[int, ...], dilations: tuple[int, ...]
) -> None:
    """Ding et al. 2023, equations 7 to 9."""
    q, k, v = qkv(model, new(tokens, model.width))
    for size, dilation in zip(segments, dilations, strict=True):
        for start in range(0, tokens, size):
            kept = slice(start, min(start + size, tokens), dilation)
            attend(model, q[kept], k[kept], v[kept])
    linear(q, model.width)


def transformer_xl(
    model: ModelSpec, tokens: int, segment: int, memory: int, compressed: int = 0, rate: int = 0
) -> None:
    """Dai et al. 2019, section 3.3; with ``compressed``, Rae et al. 2020, Algorithm 1."""
    width, inner = model.width, model.query_width
    for start in range(0, tokens, segment):
        x_SD = new(min(segment, tokens - start), width)
        with_memory_KD = torch.cat([new(compressed + memory, width), x_SD])
        q, k, v = linear(x_SD, inner), linear(with_memory_KD, inner), linear(with_memory_KD, inner)
        r_KQ = linear(new(len(with_memory_KD), width), inner)
        found = attend(model, q, k, v)
        split(q, model.head_width) @ split(r_KQ, model.head_width).transpose(1, 2)
        linear(found, width)
        if compressed and len(x_SD) == segment:
            old_1DS = new(1, width, segment)
            conv1d(old_1DS, new(width, width, rate), stride=rate)


def block_recurrent(model: ModelSpec, tokens: int, block: int, states: int) -> None:
    """Hutchins et al. 2022, section 3.1, in the one layer that is recurrent."""
    width, inner = model.width, model.query_width
    x_SD = new(tokens, width)
    q, k, v = qkv(model, x_SD)
    attend_blocks(model, q, k, v, block, 1, 0)
    missing = -tokens % block
    cross_SQ = pad(linear(x_SD, inner), (0, 0, 0, missing))
    k, v = (pad(x, (0, 0, 0, missing)) for x in (k, v))
    state_ND = new(states, width)
    for start in range(0, tokens, block):
        here = slice(start, start + block)
        own, across, key, value = (linear(state_ND, inner) for _ in range(4))
        attend(model, cross_SQ[here], key, value)
        both = torch.cat(
            [attend(model, own, key, value), attend(model, across, k[here], v[here])], dim=1
        )
        state_ND = linear(linear(both, width), width)
    linear(torch.cat([q, linear(x_SD, inner)[:, :0]], dim=1), width)


def memorizing(model: ModelSpec, tokens: int, segment: int, neighbours: int, store: int) -> None:
    """Wu et al. 2022, section 3.1, in the one layer that has the store."""
    q, k, v = qkv(model, new(tokens, model.width))
    attend_blocks(model, q, k, v, segment, 1, 0)
    stored = split(new(min(store, tokens), model.query_width), model.head_width)
    split(q, model.head_width) @ stored.transpose(1, 2)
    attend_near(model, q, k, v, neighbours)
    linear(q, model.width)


def unlimiformer(model: ModelSpec, tokens: int, window: int) -> None:
    """Bertsch et al. 2023, section 2.1: windows that overlap by half."""
    start = 0
    while True:
        q, k, v = qkv(model, new(min(window, tokens), model.width))
        linear(attend(model, q, k, v), model.width)
        if start + window >= tokens:
            return
        start += window // 2


def s4(model: ModelSpec, tokens: int) -> None:
    """Gu et al. 2022, section 3.4: the only matrix is the one behind the convolution."""
    x_SD = new(tokens, model.width)
    spectrum = torch.fft.rfft(x_SD, n=2 * tokens, dim=0)
    torch.fft.irfft(spectrum * spectrum, n=2 * tokens, dim=0)
    torch.addmm(new(2 * model.width), x_SD, new(model.width, 2 * model.width))


def hyena(model: ModelSpec, tokens: int) -> None:
    """Poli et al. 2023, Algorithms 1 to 3, order 2."""
    width = model.width

    def biased(x_SD: Tensor, columns: int) -> Tensor:
        return torch.addmm(new(columns), x_SD, new(x_SD.shape[1], columns))

    z_S3D = biased(new(tokens, width), 3 * width)
    conv1d(z_S3D.T.unsqueeze(0), new(3 * width, 1, 3), padding=2, groups=3 * width)
    inner = biased(biased(biased(new(tokens, 33), 64), 64), 64)
    linear(inner, 2 * width)
    biased(new(tokens, width), width)


def retnet(model: ModelSpec, tokens: int, chunk: int, head_width: int) -> None:
    """Sun et al. 2023, equation 7: inside a chunk, and the state across chunks."""
    width = model.width
    x_SD = new(tokens, width)
    q, k, v = linear(x_SD, width), linear(x_SD, width), linear(x_SD, 2 * width)
    missing = -tokens % chunk
    q, k, v = (pad(x, (0, 0, 0, missing)) for x in (q, k, v))
    for start in range(0, tokens, chunk):
        here = slice(start, start + chunk)
        q_HSC, k_HSC = split(q[here], head_width), split(k[here], head_width)
        v_HSC = split(v[here], 2 * head_width)
        (q_HSC @ k_HSC.transpose(1, 2)) @ v_HSC
        state_HCC = k_HSC.transpose(1, 2) @ v_HSC
        q_HSC @ state_HCC
    gated = linear(x_SD, 2 * width)
    linear(gated, width)


def armt(model: ModelSpec, tokens: int, segment: int, memory: int, key: int, wide: int) -> None:
    """Rodkin et al. 2024, equations 1 to 6; the feature map widens keys to ``wide``."""
    text, width = segment - memory, model.width
    matrix_1WD = new(1, wide, width)
    for start in range(0, tokens, text):
        x_SD = new(min(text, tokens - start) + memory, width)
        linear(x_SD, key)
        new(1, len(x_SD), wide) @ matrix_1WD
        q, k, v = qkv(model, x_SD)
        linear(attend(model, q, k, v), width)
        m_MD = x_SD[-memory:]
        linear(m_MD, key), linear(m_MD, width), linear(m_MD, 1)
        features_1MW = new(1, memory, wide)
        error_1MD = features_1MW @ matrix_1WD
        features_1MW.transpose(1, 2) @ error_1MD
