"""How a backbone is run on embeddings: any causal model or encoder, by its own forward.

Shape legend: B batch, T positions of a segment, R = any number of rows, E embedding width,
V vocabulary, C classes.

A model of Transformers is a body (embeddings to last hidden states) and what its own forward makes
of these: a head, and around it soft-caps, scales, poolers. Both are taken as they are. The body is
called with ``inputs_embeds``. For the rest the model's own forward is called with the body left
out: on a shallow copy of the model, which shares every module, in whose place of the body stands
one that returns the hidden states it was made for. So nothing about a kind has to be known, and
nothing in the backbone is changed.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rmtscale.errors import BadInput

CACHES = ("past_key_values", "cache_params", "state")
"""The names under which bodies take back what they kept of the tokens before."""


class _Outputs:
    """The outputs of a body: the given hidden states, and None for all that nobody asked for."""

    def __init__(self, hidden_BTE: Tensor, pooled_BE: Tensor | None) -> None:
        self.last_hidden_state = hidden_BTE
        self.pooler_output = pooled_BE

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return getattr(self, key)
        found = (self.last_hidden_state, self.pooler_output)
        return tuple(x for x in found if x is not None)[key]

    def get(self, name: str, default: Any = None) -> Any:
        found = getattr(self, name)
        return default if found is None else found


class _InPlace:
    """Stands where the body stood: returns what is given, and is the body in all else."""

    def __init__(self, body: nn.Module, outputs: Any) -> None:
        self._body = body
        self._given = outputs

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._given(*args, **kwargs) if callable(self._given) else self._given

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)


def with_body(module: Any, path: str, outputs: Any) -> Any:
    """Returns a shallow copy of ``module`` whose body returns ``outputs`` (or what that makes).

    All modules are shared with the original, which is not touched.
    """
    name, _, rest = path.partition(".")
    inner = module._modules[name]
    inside = with_body(inner, rest, outputs) if rest else _InPlace(inner, outputs)
    copy: Any = object.__new__(type(module))
    copy.__dict__.update(module.__dict__)
    copy.__dict__["_modules"] = {**module._modules, name: inside}
    return copy


def _taken(module: nn.Module) -> frozenset[str]:
    """Names of the arguments of a module's own forward."""
    return frozenset(inspect.signature(type(module).forward).parameters)


def _given(accepted: frozenset[str], **values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in accepted}


@dataclass(frozen=True)
class Body:
    """Where the body of a backbone is, and what it takes; holds no module, so it copies freely."""

    path: str
    """The place of the body in the backbone, such as ``model.decoder``."""
    takes: frozenset[str]
    head_takes: frozenset[str]

    @classmethod
    def of(cls, backbone: PreTrainedModel, causal: bool) -> Body:
        """Finds the body of a model with a head.

        Raises:
            BadInput: there is none that takes ``inputs_embeds``.
        """
        found: list[Any] = []
        if causal:
            with suppress(AttributeError, NotImplementedError):
                found.append(backbone.get_decoder())
        # A prefix that names no part of it leaves some models as their own base.
        found += [backbone.base_model, *backbone.children()]
        for body in found:
            if isinstance(body, nn.Module) and body is not backbone:
                paths = [name for name, module in backbone.named_modules() if module is body]
                if paths and "inputs_embeds" in _taken(body):
                    return cls(paths[0], _taken(body), _taken(backbone))
        raise BadInput(
            f"{named(backbone)}: expected a model whose body takes inputs_embeds and that has a "
            "head on it"
        )

    def body(self, backbone: nn.Module) -> nn.Module:
        """Returns the body, as it is now."""
        return backbone.get_submodule(self.path)

    def outputs(self, backbone: nn.Module, embeds_BTE: Tensor, **more: Any) -> Any:
        """Runs the body, from position 0 and with no state of its own from before."""
        given = _given(self.takes, use_cache=False, return_dict=True)
        return self.body(backbone)(inputs_embeds=embeds_BTE, **{**given, **more})

    def hidden(
        self, backbone: nn.Module, embeds_BTE: Tensor, mask_BT: Tensor | None = None
    ) -> Tensor:
        """Returns the last hidden states, (B, T, E).

        Args:
            backbone: the model.
            embeds_BTE: what stands at each position.
            mask_BT: 1 at what is real, of an encoder whose rows differ in length. A causal body
                needs none: filling stands behind all that is real.
        """
        more = {} if mask_BT is None else {"attention_mask": mask_BT}
        return hidden_of(self.outputs(backbone, embeds_BTE, **more))

    def own_outputs(
        self, backbone: nn.Module, outputs: Any, hidden_BTE: Tensor, **more: Any
    ) -> Any:
        """Returns what the model's own forward makes of what its body returned."""
        copy = with_body(backbone, self.path, outputs)
        # The forward asks for an input; what stands in the body's place does not look at it.
        ids_BT = torch.ones(hidden_BTE.shape[:2], dtype=torch.long, device=hidden_BTE.device)
        given = _given(self.head_takes, input_ids=ids_BT, use_cache=False, return_dict=True, **more)
        return type(backbone).forward(copy, **given)

    def balances(self, backbone: Any) -> bool:
        """Whether a mixture of experts is asked for the loss that keeps its experts in balance."""
        config = backbone.config.get_text_config(decoder=True)
        return bool(getattr(config, "output_router_logits", False)) and hasattr(
            config, "router_aux_loss_coef"
        )

    def hidden_and_balance(self, backbone: Any, embeds_BTE: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns the last hidden states, (B, T, E), and the weighted auxiliary loss, a scalar.

        The loss is the backbone's own, over all positions of the segment.
        """
        if not self.balances(backbone):
            return self.hidden(backbone, embeds_BTE), None
        outputs = self.outputs(backbone, embeds_BTE, output_router_logits=True)
        hidden_BTE = hidden_of(outputs)
        own = self.own_outputs(
            backbone, outputs, hidden_BTE, output_router_logits=True, logits_to_keep=1
        )
        weight = backbone.config.get_text_config(decoder=True).router_aux_loss_coef
        return hidden_BTE, None if own.aux_loss is None else weight * own.aux_loss

    def logits(
        self, backbone: nn.Module, hidden_BTE: Tensor, mask_BT: Tensor | None = None
    ) -> Tensor:
        """Returns the model's own logits of hidden states, (B, T, V); of an encoder, (B, C)."""
        pooler = getattr(self.body(backbone), "pooler", None)
        pooled_BE = None if pooler is None else pooler(hidden_BTE)
        outputs = _Outputs(hidden_BTE, pooled_BE)
        more = {} if mask_BT is None else {"attention_mask": mask_BT}
        found = self.own_outputs(backbone, outputs, hidden_BTE, **more)
        logits: Tensor = found.logits
        return logits

    def layers(self, backbone: nn.Module) -> list[nn.Module]:
        """Returns the transformer blocks, first to last: the longest list of modules there is."""
        modules = self.body(backbone).modules()
        lists = [list(module) for module in modules if isinstance(module, nn.ModuleList)]
        return max(lists, key=len, default=[])

    def blocks(self, backbone: nn.Module) -> Iterator[nn.Module]:
        """Returns the transformer blocks, first to last.

        Raises:
            BadInput: blocks without a feed-forward module ``mlp`` that an adapter could be beside.
        """
        blocks = self.layers(backbone)
        if not len(blocks) or not all(hasattr(block, "mlp") for block in blocks):
            raise BadInput(
                f"{named(backbone)}: expected blocks with a feed-forward module mlp for an adapter"
            )
        yield from blocks


def hidden_of(outputs: Any) -> Tensor:
    """Returns the last hidden states out of what a body returned."""
    found = getattr(outputs, "last_hidden_state", None)
    hidden_BTE: Tensor = outputs[0] if found is None else found
    return hidden_BTE


def named(backbone: object) -> str:
    """``backbone BloomForCausalLM (model_type 'bloom')``."""
    kind = getattr(getattr(backbone, "config", None), "model_type", None)
    return f"backbone {type(backbone).__name__} (model_type {kind!r})"
