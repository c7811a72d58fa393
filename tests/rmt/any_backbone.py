"""Every causal type and encoder of Transformers, tiny and random, against a slow generic loop.

    python -m tests.rmt.any_backbone >reports/models/rmt.csv    # make backbones, 3 minutes

Loss, and the gradient of every parameter, in float64. The loop shares nothing with
``rmtscale.rmt``: it runs the model's own forward on one sample after another, segment after
segment, with an explicit mask, and takes the logits that the model itself gives.
"""

from __future__ import annotations

import csv
import math
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from torch.overrides import TorchFunctionMode

from rmtscale.errors import BadInput
from rmtscale.rmt import RMTConfig, RMTForCausalLM, RMTForSequenceClassification
from tests.rmt.slow_reference import cut_text
from tests.rmt.tiny_types import CAUSAL, CLASSIFIERS, tiny_model

TABLE = Path(__file__).parents[2] / "reports" / "models" / "rmt.csv"
Row = dict[str, str]
SIZE, MEMORY = 8, 2
LENGTHS = (11, 10, 6)
"""With filling in a segment, and with a sample that begins later."""
AGREED = 1e-10
CLS, SEP = 1, 2
ALSO_ENCODERS = (
    "bert big_bird camembert data2vec-text electra ernie megatron-bert rembert roberta "
    "roberta-prelayernorm roc_bert roformer xlm xlm-roberta xlm-roberta-xl xlnet xmod"
).split()
"""Types that are an encoder as well, unless told to be a decoder."""


class Unrounded(TorchFunctionMode):
    """Calculates in float64 where a model asks for float32: norms, softmax, angles, states.

    1e-10 can only be asked for where nothing rounds. Both sides run in it.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        wide = {torch.float32: torch.float64, torch.float: torch.float64}
        args = tuple(wide.get(x, x) if isinstance(x, torch.dtype) else x for x in args)
        kwargs = {
            name: wide.get(x, x) if isinstance(x, torch.dtype) else x
            for name, x in (kwargs or {}).items()
        }
        return (torch.Tensor.double if func is torch.Tensor.float else func)(*args, **kwargs)


@contextmanager
def _hidden_states(module: torch.nn.Module, kept: list[Tensor]) -> Iterator[None]:
    def keep(_module: Any, _args: Any, output: Any) -> None:
        found = getattr(output, "last_hidden_state", None)
        kept.append(output[0] if found is None else found)

    handle = module.register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()


def slow_causal(
    backbone: Any, body: torch.nn.Module, initial: Tensor, ids: Tensor, lengths: tuple[int, ...]
) -> Tensor:
    """The mean loss over all labels but the first of each sample."""
    embed, losses = backbone.get_input_embeddings(), []
    for row, length in zip(ids, lengths, strict=True):
        columns = range(len(row) - length, len(row))
        state, logits, balances = initial, [], []
        for part in cut_text(columns, SIZE - 2 * MEMORY, "right"):
            text = embed(row[part][None])[0]
            embeds = torch.cat([state, text, state])[None]
            ones = torch.ones(embeds.shape[:2], dtype=torch.long)
            kept: list[Tensor] = []
            with _hidden_states(body, kept):
                out = backbone(inputs_embeds=embeds, attention_mask=ones, use_cache=False)
            logits.append(out.logits[0, MEMORY : MEMORY + len(part)])
            state = kept[0][0, MEMORY + len(part) :]
            if getattr(out, "aux_loss", None) is not None:
                balances.append(backbone.config.router_aux_loss_coef * out.aux_loss)
        scores = torch.log_softmax(torch.cat(logits)[:-1], -1)
        labels = row[columns.start + 1 :]
        losses.append(-scores[torch.arange(len(labels)), labels])
        if balances:
            losses[-1] = losses[-1] + torch.stack(balances).mean()
    return torch.cat(losses).mean()


def slow_encoder(
    backbone: Any,
    body: torch.nn.Module,
    initial: Tensor,
    ids: Tensor,
    lengths: tuple[int, ...],
    labels: Tensor,
) -> Tensor:
    """The mean loss of the classes, answered from the last segment of each sample."""
    embed, losses = backbone.get_input_embeddings(), []
    for row, length, label in zip(ids, lengths, labels, strict=True):
        state = initial
        for part in cut_text(range(len(row) - length, len(row)), SIZE - MEMORY - 3, "right"):
            cls, sep, *text = embed(torch.cat([torch.tensor([CLS, SEP]), row[part]]))
            embeds = torch.stack([cls, *state, sep, *text, sep])[None]
            kept: list[Tensor] = []
            with _hidden_states(body, kept):
                ones = torch.ones(embeds.shape[:2], dtype=torch.long)
                out = backbone(inputs_embeds=embeds, attention_mask=ones)
            state = kept[0][0, 1 : 1 + MEMORY]
        losses.append(-torch.log_softmax(out.logits[0], -1)[label])
    return torch.stack(losses).mean()


class NotBuilt(Exception):
    """Transformers does not build a tiny model of a type."""


def _tiny(kind: str, class_name: str | None = None) -> Any:
    try:
        return tiny_model(kind, class_name)
    # A config may be refused by anything; it has nothing to do with an RMT then.
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = " ".join(lines[:2])[:150]
        raise NotBuilt(f"Transformers does not build it tiny: {said}") from error


def difference(kind: str, *, encoder: bool = False) -> float:
    """The largest difference of loss and gradients, as a share of the largest gradient, or of 1.

    Raises:
        BadInput: the RMT refuses the backbone; says why.
        NotBuilt: there is no tiny model of this type.
    """
    torch.set_default_dtype(torch.float64)
    try:
        with Unrounded():
            if encoder:
                config = RMTConfig(SIZE, MEMORY, cls_token_id=CLS, sep_token_id=SEP)
                inner = _tiny(kind, CLASSIFIERS[kind])
                return _difference(RMTForSequenceClassification(inner, config).eval())
            return _difference(RMTForCausalLM(_tiny(kind), RMTConfig(SIZE, MEMORY)).eval())
    finally:
        torch.set_default_dtype(torch.float32)


def _difference(model: Any) -> float:
    with torch.no_grad():
        model.memory.reset(0.5)
    ids = torch.randint(3, 90, (len(LENGTHS), max(LENGTHS)))
    mask = torch.zeros_like(ids)
    for row, length in enumerate(LENGTHS):
        mask[row, -length:] = 1
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    labels = ids if model.causal else torch.tensor([0, 1, 0])
    ours = model(ids, attention_mask=mask, labels=labels).loss
    own = torch.autograd.grad(ours, parameters, allow_unused=True)
    body = model.backbone.get_submodule(model.body.path)
    initial = model.memory.initial_ME
    if model.causal:
        theirs = slow_causal(model.backbone, body, initial, ids, LENGTHS)
    else:
        theirs = slow_encoder(model.backbone, body, initial, ids, LENGTHS, labels)
    slow = torch.autograd.grad(theirs, parameters, allow_unused=True)
    worst = float((ours - theirs).abs().detach())
    for one, other, parameter in zip(own, slow, parameters, strict=True):
        grad = torch.zeros_like(parameter) if one is None else one
        expected = torch.zeros_like(parameter) if other is None else other
        scale = max(1.0, float(expected.abs().max()))
        worst = max(worst, float((grad - expected).abs().max()) / scale)
    return worst if math.isfinite(worst) else math.inf


def row(kind: str, *, encoder: bool) -> Row:
    """One line of the table."""
    names = CLASSIFIERS if encoder else CAUSAL
    line = {"model_type": kind, "class": names[kind], "rmt": "", "difference": "", "reason": ""}
    try:
        found = difference(kind, encoder=encoder)
    except BadInput as error:
        said = str(error).split(": ", 1)[1]
        return {**line, "rmt": "refused", "reason": said}
    except NotBuilt as error:
        return {**line, "rmt": "not built", "reason": str(error)}
    result = "equal" if found < AGREED else "differs"
    return {**line, "rmt": result, "difference": f"{max(found, 1e-16):.0e}"}


def encoder_types() -> list[str]:
    """Types with a classifier that Transformers does not have as a causal model alone."""
    return [kind for kind in CLASSIFIERS if kind not in CAUSAL or kind in ALSO_ENCODERS]


def table(kinds: Iterable[str] = CAUSAL, encoders: Iterable[str] | None = None) -> list[Row]:
    """One line for each causal type, then for each encoder."""
    rows = [row(kind, encoder=False) for kind in kinds]
    found = encoder_types() if encoders is None else encoders
    return rows + [row(kind, encoder=True) for kind in found]


def committed() -> list[Row]:
    """The table as it was made last."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def main() -> None:
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    rows = table()
    writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


if __name__ == "__main__":
    main()
