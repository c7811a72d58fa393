"""A segment that is being filled token by token: by a cache where the backbone has one that works.

Shape legend: G rows of one group, L tokens read at once, T positions so far, M memory, E embedding
width, V vocabulary.

A backbone that is run by its own forward keeps what it likes of the tokens before: keys and
values, a state, both. Whether it goes on from there rightly is tried once, on a few tokens, against
a run over all of them; a backbone that does not is run over the whole open segment for each token.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from rmtscale.rmt.body import CACHES, Body, hidden_of
from rmtscale.rmt.checks import apart, probe_ids
from rmtscale.rmt.families import FamilyBody, decoder_hidden

_TOLERATED = 0.1
"""A cached run may differ from a whole one by this share of what the tokens before change."""


class Reader(Protocol):
    """Reads a segment from its beginning, some tokens at a time."""

    def read(self, embeds_GLE: Tensor) -> Tensor:
        """Returns the last hidden states of these tokens, (G, L, E)."""
        ...


class _FamilyReader:
    def __init__(self, backbone: Any) -> None:
        self.backbone = backbone
        self.past = DynamicCache()

    def read(self, embeds_GLE: Tensor) -> Tensor:
        return decoder_hidden(self.backbone, embeds_GLE, self.past)


class _WholeReader:
    """Reads everything so far again, without a cache."""

    def __init__(self, body: Body, backbone: nn.Module) -> None:
        self.body, self.backbone = body, backbone
        self.embeds_GTE: Tensor | None = None

    def read(self, embeds_GLE: Tensor) -> Tensor:
        tokens = embeds_GLE.shape[1]
        if self.embeds_GTE is not None:
            embeds_GLE = torch.cat([self.embeds_GTE, embeds_GLE], dim=1)
        self.embeds_GTE = embeds_GLE
        # A copy, because some bodies scale what they are given in place.
        return self.body.hidden(self.backbone, embeds_GLE.clone())[:, -tokens:]


class _CachedReader:
    """Reads by the backbone's own cache, whatever it is."""

    def __init__(self, body: Body, backbone: nn.Module, use: CacheUse) -> None:
        self.body, self.backbone, self.use = body, backbone, use
        self.cache: Any = None

    def read(self, embeds_GLE: Tensor) -> Tensor:
        if self.cache is not None and not self.use.many_at_once:
            parts = [self._read(embeds_G1E) for embeds_G1E in torch.split(embeds_GLE, 1, dim=1)]
            return torch.cat(parts, dim=1)
        return self._read(embeds_GLE)

    def _read(self, embeds_GLE: Tensor) -> Tensor:
        more = {"use_cache": True}
        if self.cache is not None:
            more[self.use.name] = self.cache
        outputs = self.body.outputs(self.backbone, embeds_GLE.clone(), **more)
        self.cache = getattr(outputs, self.use.name)
        return hidden_of(outputs)


@dataclass(frozen=True)
class CacheUse:
    """How a body goes on from its own cache."""

    name: str
    """The argument that takes it back."""
    many_at_once: bool
    """Whether it reads several tokens after it in one run."""


_TRIED: MutableMapping[nn.Module, CacheUse | None] = WeakKeyDictionary()


@torch.no_grad()
def cache_use(body: Body, backbone: Any) -> CacheUse | None:
    """Tries the cache of a backbone, once; None where no cache gives what a whole run does."""
    if backbone not in _TRIED:
        _TRIED[backbone] = _try(body, backbone)
    return _TRIED[backbone]


def _try(body: Body, backbone: Any) -> CacheUse | None:
    embeds_1TE = backbone.get_input_embeddings()(probe_ids(backbone)[:1])
    whole_1TE = body.hidden(backbone, embeds_1TE.clone())
    kept = embeds_1TE.shape[1] - 3
    alone_13E = body.hidden(backbone, embeds_1TE[:, kept:].clone())
    # What the tokens before change at the last ones, and what rounding may.
    limit = _TOLERATED * apart(alone_13E, whole_1TE[:, kept:])
    # A model in float64 may still keep its state in float32.
    eps = max(torch.finfo(dtype).eps for dtype in (whole_1TE.dtype, torch.float32))
    limit = min(limit, eps**0.5)
    for name in (name for name in CACHES if name in body.takes and "use_cache" in body.takes):
        for many in (True, False):
            use = CacheUse(name, many)
            reader = _CachedReader(body, backbone, use)
            try:
                first_1TE = reader.read(embeds_1TE[:, :kept])
                if reader.cache is None:
                    break
                parts = [first_1TE, reader.read(embeds_1TE[:, kept:])]
            # A body may raise anything when it is not made for this; then it is not used so.
            except Exception:  # noqa: BLE001
                continue
            if apart(torch.cat(parts, dim=1), whole_1TE) <= limit:
                return use
    return None


def reader_of(body: Body, backbone: Any) -> Reader:
    """Returns a reader at the beginning of a segment."""
    if isinstance(body, FamilyBody):
        return _FamilyReader(backbone)
    use = cache_use(body, backbone)
    if use is None:
        return _WholeReader(body, backbone)
    return _CachedReader(body, backbone, use)


class OpenSegment:
    """A segment that is being filled: memory in front, then text, at last the write memory."""

    def __init__(self, model: Any, state_GME: Tensor) -> None:
        self.model = model
        self.state_GME: Tensor = model.take_up(state_GME)
        self.tokens = 0
        self.reader = reader_of(model.body, model.backbone)

    def read(self, ids_GL: Tensor) -> Tensor:
        """Reads text into it; logits after the last token, (G, V)."""
        embeds_GLE = self.model.embed(ids_GL)
        if not self.tokens:
            embeds_GLE = torch.cat([self.state_GME.to(embeds_GLE.dtype), embeds_GLE], dim=1)
        self.tokens += ids_GL.shape[1]
        hidden_GLE = self.reader.read(embeds_GLE)
        logits_GV: Tensor = self.model.head(hidden_GLE[:, -1])
        return logits_GV

    def close(self) -> Tensor:
        """Reads the write memory at its end; the state after it, (G, M, E)."""
        if not self.state_GME.shape[1]:
            return self.state_GME
        new_GME = self.reader.read(self.state_GME)
        handed_GME: Tensor = self.model.hand_over(self.state_GME, new_GME)
        return handed_GME.to(self.state_GME.dtype)
