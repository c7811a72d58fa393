"""What a step really keeps: the Hugging Face modules on `meta`, with every live storage counted.

Nothing here knows a closed form. The real module runs forward, loss, backward and optimizer step
on the `meta` device (no memory is taken, no number computed); a dispatch mode sees each operator
and adds up the storages that are alive. It stands in for `torch.cuda.max_memory_allocated`; what
the card adds (allocator rounding, library workspaces, temporaries inside a kernel) is not seen.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
import transformers.masking_utils
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
    GPT2Config,
    GPTNeoConfig,
    GPTNeoXConfig,
    LlamaConfig,
    OPTConfig,
)

from rmtscale.profiler.adapters import with_adapter
from rmtscale.rmt import RMTConfig, RMTForCausalLM, RMTForSequenceClassification
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import Workload
from tests.costs.oracle_autocast import MetaAutocast

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    # `foreach` asked for by name: off CUDA torch would choose the one-by-one loop.
    "adamw": lambda parameters: torch.optim.AdamW(parameters, foreach=True),
    "sgd": lambda parameters: torch.optim.SGD(parameters, foreach=True, lr=0.1),
}


# Kernels that hold one more tensor of their output's size while they run on CUDA:
# ATen/native/cuda/SoftMax.cu, softmax_backward_cuda_out, `Tensor tmp = grad * output`.
PRODUCT_INSIDE = {torch.ops.aten._softmax_backward_data.default}
_AUTOCAST: list[MetaAutocast] = []
"""The autocast at work, which attention, being replaced, has to ask."""
_MATH_ATTENTION = F.scaled_dot_product_attention  # what `meta` takes by itself


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of all storages alive, and remembers the peak and what it was made of."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sizes: dict[int, tuple[object, int]] = {}
        self.live = self.peak = 0
        self.peak_operator = ""
        self.in_backward = False
        """Autograd adds gradients in place, unless a mode such as this one is looking."""
        self.head: tuple[int, int] | None = None
        """Shape of the head's matrix, by which its gradient is told from others."""
        self._at_peak: tuple[tuple[object, int], ...] = ()

    def track(self, tensor: torch.Tensor, label: str = "") -> None:
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self.sizes:
            return
        self.sizes[key] = (label or (tensor.shape, tensor.dtype), storage.nbytes())
        self.live += storage.nbytes()
        weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self.live -= self.sizes.pop(key)[1]

    def backward(self, loss: torch.Tensor) -> None:
        """``loss.backward()``, with its sums taken as in place."""
        self.in_backward = True
        torch.autograd.backward(loss)
        self.in_backward = False

    @property
    def at_peak(self) -> Counter[str]:
        """Bytes at the peak by name, or by shape and dtype."""
        made_of: Counter[str] = Counter()
        for label, size in self._at_peak:
            made_of[str(label)] += size
        return made_of

    def restart(self) -> None:
        """Forgets the peak; what is alive stays counted."""
        self.peak = self.live

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_iter(out):
            if isinstance(tensor, torch.Tensor):
                self.track(tensor)
        inside = out.nbytes if func in PRODUCT_INSIDE else 0
        in_place = self.in_backward and func is torch.ops.aten.add.Tensor
        # To a view nothing is added in place: the gradient of a tied head is a transpose.
        in_place = in_place and not (args[0].shape == self.head and args[0]._is_view())
        if self.live + inside > self.peak and not in_place:
            self.peak, self.peak_operator = self.live + inside, str(func)
            self._at_peak = tuple(self.sizes.values())
        return out


def _fused_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """SDPA as the GPU runs it: memory-efficient in fp32, flash in 16 bits; `meta` takes `math`."""
    assert attn_mask is None
    if _AUTOCAST:
        mode = _AUTOCAST[-1]
        query, key, value = (mode.cast(one, mode.dtype) for one in (query, key, value))
    if query.dtype == torch.float32:
        if enable_gqa:  # no kernel for grouped heads in fp32: torch falls back to math, as here
            return _MATH_ATTENTION(
                query, key, value, None, dropout_p, is_causal, scale=scale, enable_gqa=True
            )
        efficient: Callable[..., tuple[torch.Tensor, ...]] = (
            torch.ops.aten._scaled_dot_product_efficient_attention
        )
        keep = torch.is_grad_enabled()
        return efficient(query, key, value, None, keep, dropout_p, is_causal, scale=scale)[0]
    flash: Callable[..., tuple[torch.Tensor, ...]] = (
        torch.ops.aten._scaled_dot_product_flash_attention
    )
    return flash(query, key, value, dropout_p, is_causal, False, scale=scale)[0]


def _fused_dropout(
    input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> torch.Tensor:
    """Dropout as the GPU runs it, with a mask of one byte an element; `meta` keeps a float mask."""
    assert not inplace
    return torch.ops.aten.native_dropout(input, p, training)[0] if training and p else input


@contextmanager
def autocast_of(workload: Workload) -> Iterator[None]:
    """Autocast on ``meta``, where the workload's precision is a mixed one."""
    if not workload.casts.autocast:
        yield
        return
    mode = MetaAutocast(DTYPES[workload.casts.arithmetic], inference=not workload.train)
    _AUTOCAST.append(mode)
    try:
        with mode:
            yield
    finally:
        _AUTOCAST.pop()


@contextmanager
def as_on_the_gpu() -> Iterator[None]:
    """Fused attention and dropout; no look at the values of position ids (`meta` has none)."""
    with (
        patch.object(F, "scaled_dot_product_attention", _fused_attention),
        patch.object(F, "dropout", _fused_dropout),
        patch.object(transformers.masking_utils, "find_packed_sequence_indices", lambda _: None),
    ):
        yield


def shrink(spec: ModelSpec, layers: int) -> ModelSpec:
    """The same architecture, small; with dropout wherever the module has any."""
    rotary = {"llama": 16, "gpt_neox": 4}.get(spec.kind, 0)
    return replace(
        spec,
        layers=layers,
        width=64,
        heads=4,
        kv_heads=4 if spec.kv_heads == spec.heads else 2,
        head_width=16,
        mlp_width=208,
        vocabulary=1000,
        embedding_width=32 if spec.projected_embedding else 64,
        rotary_width=rotary,
        local_layers=layers // 2 if spec.local_layers else 0,
        hidden_dropout=0.0 if spec.kind == "llama" else 0.1,
        attention_dropout=0.1,
    )


def dropout_is_fused(spec: ModelSpec, attention: str, dtype: str) -> bool:
    """Not in SDPA's ``math`` form, which drops out inside C++ where `meta` keeps a float mask."""
    return attention == "eager" or dtype != "fp32" or spec.kv_heads == spec.heads


def build(spec: ModelSpec, workload: Workload) -> torch.nn.Module:
    """The real Hugging Face module of ``spec`` on ``meta``, with its head, dropout and dtype."""
    off = workload.dropout is False
    hidden = 0.0 if off else spec.hidden_dropout
    attention = 0.0 if off else spec.attention_dropout
    rows = max(spec.positions or 0, workload.tokens)
    size: dict[str, Any] = {"vocab_size": spec.vocabulary, "tie_word_embeddings": spec.tied_head}
    config: Any
    match spec.kind:
        case "gpt2":
            config = GPT2Config(
                **size,
                n_embd=spec.width,
                n_layer=spec.layers,
                n_head=spec.heads,
                n_inner=spec.mlp_width,
                n_positions=rows,
                activation_function=spec.activation,
                embd_pdrop=hidden,
                resid_pdrop=hidden,
                attn_pdrop=attention,
            )
        case "opt":
            config = OPTConfig(
                **size,
                hidden_size=spec.width,
                num_hidden_layers=spec.layers,
                num_attention_heads=spec.heads,
                ffn_dim=spec.mlp_width,
                max_position_embeddings=rows,
                word_embed_proj_dim=spec.embedding_width,
                do_layer_norm_before=not spec.post_norm,
                activation_function=spec.activation,
                dropout=hidden,
                attention_dropout=attention,
            )
        case "gpt_neo":
            config = GPTNeoConfig(
                **size,
                hidden_size=spec.width,
                num_layers=spec.layers,
                num_heads=spec.heads,
                attention_types=[[["global", "local"], spec.layers // 2]],
                intermediate_size=spec.mlp_width,
                max_position_embeddings=rows,
                activation_function=spec.activation,
                window_size=spec.local_window,
                resid_dropout=hidden,
                embed_dropout=hidden,
                attention_dropout=attention,
            )
        case "gpt_neox":
            config = GPTNeoXConfig(
                **size,
                hidden_size=spec.width,
                num_hidden_layers=spec.layers,
                num_attention_heads=spec.heads,
                intermediate_size=spec.mlp_width,
                hidden_act=spec.activation,
                max_position_embeddings=2048,
                rope_parameters={
                    "rope_type": "default",
                    "rope_theta": 10000.0,
                    "partial_rotary_factor": spec.rotary_width / spec.head_width,
                },
                hidden_dropout=hidden,
                attention_dropout=attention,
            )
        case "llama":
            config = LlamaConfig(
                **size,
                hidden_size=spec.width,
                num_hidden_layers=spec.layers,
                num_attention_heads=spec.heads,
                num_key_value_heads=spec.kv_heads,
                head_dim=spec.head_width,
                intermediate_size=spec.mlp_width,
                attention_dropout=attention,
            )
        case _:
            config = BertConfig(
                vocab_size=spec.vocabulary,
                hidden_size=spec.width,
                num_hidden_layers=spec.layers,
                num_attention_heads=spec.heads,
                intermediate_size=spec.mlp_width,
                max_position_embeddings=rows,
                hidden_act=spec.activation,
                num_labels=spec.labels,
                hidden_dropout_prob=hidden,
                attention_probs_dropout_prob=attention,
            )
    auto = AutoModelForCausalLM if spec.decoder else AutoModelForSequenceClassification
    implementation = "eager" if spec.kind == "gpt_neo" else workload.attention
    with torch.device("meta"):
        model: Any = auto.from_config(
            config, attn_implementation=implementation, dtype=DTYPES[workload.casts.weights]
        )
    if workload.checkpoint_layers:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if workload.adapter is not None:
        model = with_adapter(model, workload.adapter, spec)
    built: torch.nn.Module = model.train(workload.train)
    return built


def saved_bytes(run: Callable[[], Any], model: torch.nn.Module) -> int:
    """Bytes autograd saves for the backward pass of ``run``; each storage once, no parameters."""
    # The storages are kept, not their ids alone: an id is used again once its storage is freed.
    own = [part.untyped_storage() for part in (*model.parameters(), *model.buffers())]
    known = {id(storage) for storage in own}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in known:
            kept[id(storage)] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(storage.nbytes() for storage in kept.values())


def measure_step(
    spec: ModelSpec,
    workload: Workload,
    recurrence: Recurrence | None = None,
    built: Callable[[ModelSpec, Workload], torch.nn.Module] = build,
) -> LiveBytes:
    """Peak of one step in the steady state: with an optimizer, that of the second step."""
    live = LiveBytes()
    with as_on_the_gpu(), live, torch.device("meta"):
        if recurrence is None:
            model = built(spec, workload)
        else:  # positions restart in every segment: the table is the model's own
            alone = workload.adapter is not None and not workload.adapter.lora
            plain = replace(workload, tokens=recurrence.segment_size)
            model = built(spec, replace(plain, adapter=None) if alone else plain)
            if alone:
                model.requires_grad_(False)
            model = wrap(model, workload, recurrence)
        for name, part in (*model.named_parameters(), *model.named_buffers()):
            live.track(part, name)
        live.head = (spec.vocabulary, spec.embedding_width)
        optimizer = None
        if workload.train and workload.optimizer in OPTIMIZERS:
            trained = [one for one in model.parameters() if one.requires_grad]
            optimizer = OPTIMIZERS[workload.optimizer](trained)
        ids = torch.zeros(workload.batch_size, workload.tokens, dtype=torch.long)
        for _ in range(1 + (optimizer is not None)):
            live.restart()
            if not workload.train:
                with torch.no_grad(), autocast_of(workload):
                    model(ids) if recurrence else whole_pass(
                        model, spec, ids, False, workload.logits
                    )
                continue
            for _micro_batch in range(workload.accumulate):
                if recurrence:
                    train_segments(model, spec, ids, live.backward, workload)
                    continue
                with autocast_of(workload):
                    out = whole_pass(model, spec, ids, train=True)
                live.backward(out.loss)
                del out  # the caller holds the output, logits in it, through the backward pass
            if optimizer:
                optimizer.step()
            model.zero_grad(set_to_none=True)
    return live


def wrap(model: Any, workload: Workload, recurrence: Recurrence) -> torch.nn.Module:
    """The real RMT around ``model``; in training it keeps no logits, else the last token's."""
    settings: dict[str, Any] = {
        "bptt_segments": workload.bptt_segments,
        "checkpoint_segments": workload.checkpoint_segments,
        "keep_logits": "none" if workload.train else "last",
    }
    adapter = workload.adapter
    if adapter is not None and not adapter.lora:  # the RMT puts them on itself
        settings |= {"adapter_width": adapter.rank, "adapter_scale": 1.0}
    kind: type[RMTForCausalLM | RMTForSequenceClassification] = RMTForCausalLM
    if model.config.model_type == "bert":
        kind = RMTForSequenceClassification
        settings |= {"cls_token_id": 0, "sep_token_id": 0}
    config = RMTConfig(recurrence.segment_size, recurrence.memory_tokens, **settings)
    wrapped: torch.nn.Module = kind(model, config)
    return wrapped.train(workload.train)


def train_segments(
    model: Any,
    spec: ModelSpec,
    ids: torch.Tensor,
    backward: Callable[[torch.Tensor], None],
    workload: Workload,
) -> None:
    if not spec.decoder:
        with autocast_of(workload):
            loss = model(ids, labels=ids[:, 0]).loss
        backward(loss)
        return
    if workload.casts.autocast and workload.bptt_segments is None:
        with autocast_of(workload):
            loss = model(ids, labels=ids, keep_logits="none").loss
        backward(loss)
        return
    for loss in model.window_losses(ids):
        backward(loss)
        del loss


def whole_pass(
    model: torch.nn.Module, spec: ModelSpec, ids: torch.Tensor, train: bool, logits: str = "all"
) -> Any:
    kwargs: dict[str, Any] = {"use_cache": False} if spec.decoder else {}
    if spec.decoder and logits == "last":
        kwargs["logits_to_keep"] = 1
    if train:
        kwargs["labels"] = ids if spec.decoder else ids[:, 0]
    return model(input_ids=ids, **kwargs)


def saved_by_backbone(spec: ModelSpec, workload: Workload) -> int:
    """Bytes the backbone alone keeps for its backward pass, its output too, as a head would."""
    with as_on_the_gpu(), torch.device("meta"):
        whole: Any = build(spec, workload)
        if workload.adapter is not None and workload.adapter.lora:
            whole = whole.get_base_model()
        backbone: Any = whole.base_model
        backbone.pooler = None  # BERT's reads one token; not part of the backbone's cost
        ids = torch.zeros(workload.batch_size, workload.tokens, dtype=torch.long)
        kwargs = {"use_cache": False} if spec.decoder else {}

        def run() -> Any:
            with autocast_of(workload):
                last = backbone(input_ids=ids, **kwargs).last_hidden_state
            return last.square()

        return saved_bytes(run, whole)
