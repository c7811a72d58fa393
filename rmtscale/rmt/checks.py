"""Seven checks of a backbone that is run by its own forward, made when it is wrapped.

Shape legend: B = 3 rows, T probe tokens, E embedding width, V vocabulary, C classes.

"Runs without an error" is not "runs right". On a few real token embeddings: they give what the ids
give; what is computed at a position depends on what it should and on nothing else, in an encoder
not on what the mask hides; a gradient reaches every input; what comes out can go in again; and the
hidden states are all that the logits are made of. Costs two forward passes and one back to the
embeddings, of 3 x 8 tokens, and of an encoder a pass of 3 x 12 more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from rmtscale.errors import BadInput, reason_of
from rmtscale.rmt.body import Body, hidden_of, named, with_body
from rmtscale.rmt.validation import has_values, shape_text

PROBE_TOKENS = 8
_CHANGED = 4
"""The position of the probe at which the two rows differ."""
_SMALL = 0.1
"""How large the numbers are that stand in for weights of zero."""
_ROUNDING = 16
"""So many units in the last place may two runs of the same shapes be apart (atomic additions)."""


class _Tables(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches for tables that are read at the positions of the probe, one row after another."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.longest: int | None = None
        """Tokens that fit in the shortest table."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        aten = torch.ops.aten
        if func is aten.embedding.default:
            self._read(len(args[0]), args[1])
        elif func is aten.index_select.default:
            self._read(args[0].shape[args[1]], args[2])
        elif func is aten.index.Tensor and len(args[1]) == 1:
            self._read(len(args[0]), args[1][0])
        elif func is aten.gather.default and args[0].ndim == 3 and args[1] == 1:
            self._read(args[0].shape[1], args[2][:, :, 0])
        return func(*args, **(kwargs or {}))

    def _read(self, rows: int, index: Tensor | None) -> None:
        if index is None or index.dtype not in (torch.int64, torch.int32):
            return
        if index.ndim == 0 or index.shape[-1] != PROBE_TOKENS:
            return
        places = index.reshape(-1, PROBE_TOKENS)[0].tolist()
        if places == list(range(places[0], places[0] + PROBE_TOKENS)):
            room = rows - places[0]
            self.longest = room if self.longest is None else min(self.longest, room)


def probe_ids(backbone: Any) -> Tensor:
    """Returns three rows of ids, (3, T); the second differs at one position. None is special."""
    embedding = backbone.get_input_embeddings().weight
    vocabulary = len(embedding)
    special = {
        value
        for name, value in backbone.config.to_dict().items()
        if name.endswith(("_token_id", "_token_index")) and isinstance(value, int)
    }
    plain = [at for at in range(min(vocabulary, 4096)) if at not in special] or [0]
    # Spread over the vocabulary, in no order: rows of a position table are read one by one.
    chosen = [plain[(7 * at + 5) * len(plain) // 64 % len(plain)] for at in range(PROBE_TOKENS + 1)]
    ids = torch.tensor([chosen[:-1]] * 3, device=embedding.device)
    ids[1, _CHANGED] = chosen[-1]
    return ids


def _zeros(backbone: nn.Module) -> list[tuple[nn.Module, str, nn.Parameter]]:
    """Parameters that are all zero: a weight that is drawn so hides what it is multiplied to."""
    places = [
        (module, name, parameter)
        for module in backbone.modules()
        for name, parameter in module._parameters.items()
        if parameter is not None and parameter.is_floating_point() and parameter.numel()
    ]
    if not places:
        return []
    device = places[0][2].device
    drawn = torch.stack([parameter.detach().any().to(device) for _, _, parameter in places])
    return [place for place, any_there in zip(places, drawn.tolist(), strict=True) if not any_there]


@contextmanager
def _undisturbed(backbone: nn.Module) -> Iterator[None]:
    """Evaluation mode, gradients, no autocast, and values where all are zero.

    Leaves weights, modes and random numbers as they were.
    """
    modes = [(module, module.training) for module in backbone.modules()]
    zeros = _zeros(backbone)
    stand_ins = {
        id(parameter): nn.Parameter(
            (_SMALL * torch.arange(parameter.numel(), device=parameter.device).cos())
            .to(parameter.dtype)
            .view(parameter.shape)
        )
        for _, _, parameter in zeros
    }
    device = next(backbone.parameters()).device
    devices = [device] if device.type == "cuda" else []
    try:
        for module, _ in modes:
            module.training = False
        for module, name, parameter in zeros:
            module._parameters[name] = stand_ins[id(parameter)]
        with (
            torch.random.fork_rng(devices),
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(device.type, enabled=False),
        ):
            yield
    finally:
        for module, name, parameter in zeros:
            module._parameters[name] = parameter
        for module, training in modes:
            module.training = training


def apart(one: Tensor, other: Tensor) -> float:
    """Returns the largest difference, as a share of what rounding explains; inf if not finite."""
    exact = torch.float64 if one.dtype == torch.float64 else torch.float32
    one, other = one.detach().to(exact), other.detach().to(exact)
    largest = float(one.abs().max())
    difference = float((one - other).abs().max())
    if not largest < float("inf") or not difference < float("inf"):
        return float("inf")
    return difference / (largest or 1.0)


def check_body(backbone: Any, body: Body, *, causal: bool) -> int | None:
    """Raises ``BadInput`` that names the first check that fails.

    Returns:
        The longest segment that a table of positions has room for; None if there is no table, or
        nothing to check because the weights have no values.
    """
    weight = backbone.get_input_embeddings().weight
    if not has_values(weight) or type(weight.data) is not Tensor:
        return None
    name = named(backbone)
    with _undisturbed(backbone):
        ids_BT = probe_ids(backbone)
        seen: list[Tensor] = []

        def record(*args: Any, **kwargs: Any) -> Any:
            outputs = body.body(backbone)(*args, **kwargs)
            seen.append(hidden_of(outputs))
            return outputs

        given: dict[str, Any] = {"input_ids": ids_BT}
        given |= {"use_cache": False} if "use_cache" in body.head_takes else {}
        try:
            with torch.no_grad():
                copy = with_body(backbone, body.path, record)
                logits = type(backbone).forward(copy, **given).logits
        # A forward may raise anything; to the user it is one thing.
        except Exception as error:
            raise BadInput(f"{name}: does not run on ids alone ({reason_of(error)})") from error
        rows = (3, PROBE_TOKENS) if causal else (3,)
        if tuple(logits.shape[:-1]) != rows:
            kind = "next-token logits" if causal else "one row of class logits for each sample"
            raise BadInput(f"{name}: expected {kind}, it gives {shape_text(logits)} for {rows}")
        looked_up = backbone.get_input_embeddings()(ids_BT)
        if not isinstance(looked_up, Tensor):
            raise BadInput(f"{name}: its embeddings are more than one tensor")
        embeds_BTE = looked_up.detach()
        # Memory is no token's embedding. The third row has one between two of them.
        embeds_BTE[2, _CHANGED] = embeds_BTE[:2, _CHANGED].mean(0)
        embeds_BTE.requires_grad_()
        tables = _Tables()
        try:
            with tables:
                hidden_BTE = body.hidden(backbone, embeds_BTE.clone())
        except Exception as error:
            raise BadInput(f"{name}: does not run on inputs_embeds ({reason_of(error)})") from error
        if hidden_BTE.shape != embeds_BTE.shape:
            raise BadInput(
                f"{name}: width in is not width out: embeddings {shape_text(embeds_BTE)}, hidden "
                f"states {shape_text(hidden_BTE)}; memory has to go in as it came out"
            )
        rounding = _ROUNDING * torch.finfo(hidden_BTE.dtype).eps
        if not apart(hidden_BTE[:2], seen[0][:2]) <= rounding:
            raise BadInput(f"{name}: embeddings do not give what their ids give")
        _check_dependence(name, hidden_BTE, rounding, causal)
        if not causal:
            _check_filling(name, backbone, body, embeds_BTE, hidden_BTE)
        _check_gradient(name, hidden_BTE, embeds_BTE)
        try:
            with torch.no_grad():
                again = body.logits(backbone, seen[0])
        except Exception as error:
            raise BadInput(
                f"{name}: no logits of hidden states alone ({reason_of(error)})"
            ) from error
        if again.shape != logits.shape or not apart(again, logits) <= rounding:
            raise BadInput(f"{name}: logits are not made of the last hidden states alone")
    return tables.longest


def _check_dependence(name: str, hidden_BTE: Tensor, rounding: float, causal: bool) -> None:
    """The second row has another token at ``_CHANGED``."""
    one, other = hidden_BTE[0], hidden_BTE[1]
    before = apart(one[:_CHANGED], other[:_CHANGED])
    after = apart(one[_CHANGED + 1 :], other[_CHANGED + 1 :])
    if causal and not before <= rounding:
        raise BadInput(f"{name}: not causal: a later token changes what stands before it")
    if not causal and not before > rounding:
        raise BadInput(f"{name}: not an encoder: a later token changes nothing before it")
    if not (after > 0 and (not causal or after > 4 * before)):
        raise BadInput(f"{name}: a token changes nothing behind it")


def _check_filling(
    name: str, backbone: Any, body: Body, embeds_BTE: Tensor, hidden_BTE: Tensor
) -> None:
    """Rows of different lengths are filled; nothing may look at the filling."""
    filling = embeds_BTE.shape[1] // 2
    longer = torch.cat([embeds_BTE, embeds_BTE[:, :filling]], dim=1).detach()
    mask_BT = torch.ones(longer.shape[:2], dtype=torch.long, device=longer.device)
    mask_BT[:, -filling:] = 0
    with torch.no_grad():
        filled_BTE = body.hidden(backbone, longer, mask_BT)[:, :-filling]
    rounding = torch.finfo(hidden_BTE.dtype).eps ** 0.5
    if filled_BTE.shape != hidden_BTE.shape or not apart(filled_BTE, hidden_BTE) <= rounding:
        raise BadInput(f"{name}: filling behind a sample changes it, whatever the mask says")


def _check_gradient(name: str, hidden_BTE: Tensor, embeds_BTE: Tensor) -> None:
    weights_BTE = torch.arange(hidden_BTE.numel(), device=hidden_BTE.device).float().cos()
    try:
        (grad_BTE,) = torch.autograd.grad(
            (hidden_BTE.float() * weights_BTE.view_as(hidden_BTE)).sum(), embeds_BTE
        )
    except RuntimeError as error:
        raise BadInput(f"{name}: no gradient reaches its input ({reason_of(error)})") from error
    if not bool(grad_BTE.isfinite().all()) or not bool((grad_BTE != 0).any(-1).all()):
        raise BadInput(f"{name}: a gradient does not reach every input")
