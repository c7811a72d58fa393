"""Torch's own context parallelism around a training step: each rank reads a share of a sequence.

Shape legend: B batch, N tokens of the whole sequence, n those of one rank, H heads, D head width.

``context_parallel`` cuts what is read by position, for each rank one piece from the front and one
from the back, so that under a causal mask all have as much work, and puts a ring of itself in the
place of SDPA. What its caller has to see to is here: labels are shifted before they are cut;
positions are cut as the text is; grouped heads are written out once per query head, which
its ring needs; and a rank's loss is its share of the mean over all labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rmtscale.errors import BadInput
from rmtscale.specs.layout import Layout

ROTATIONS = {"torch": "allgather", "torchring": "alltoall"}
"""Words of a layout, and what ``set_rotate_method`` calls them."""
_IGNORED = -100
_SEQUENCE = 2
"""The dimension of positions in B, H, n, D."""


class SharedContext:
    """The cut of a sequence among the ranks of one mesh.

    Args:
        model: a causal language model; from here on it reads its positions here.
        mesh: one-dimensional, of the ranks that share each sequence.
        layout: with ``context`` one of ``ROTATIONS``.
        tokens: of a whole sequence.
        device: ``cuda`` or ``cpu``.

    Raises:
        BadInput: a model that asks for its positions in another way.
    """

    def __init__(
        self, model: nn.Module, mesh: Any, layout: Layout, tokens: int, device: str
    ) -> None:
        self._mesh = mesh
        self._rotation = ROTATIONS[layout.context]
        self._labels = layout.micro_batch * (tokens - 1)
        self.positions_N = torch.arange(tokens, device=device)
        self._lead_positions(model)
        if device == "cpu":
            _add_cpu_kernel()

    @contextmanager
    def cut(self, ids_BN: Tensor) -> Iterator[dict[str, Any]]:
        """Cuts a batch while the step runs, its backward pass too; whole again behind it.

        Args:
            ids_BN: of whole sequences, in a memory of its own: it is cut in place.

        Yields:
            What the model is called with. Its loss, averaged over the ranks, is the mean over all
            labels, and so are its gradients.
        """
        from torch.distributed.tensor.experimental import context_parallel
        from torch.distributed.tensor.experimental._attention import set_rotate_method
        from torch.nn.attention import SDPBackend, sdpa_kernel

        labels_BN = functional.pad(ids_BN, (0, 1), value=_IGNORED)[:, 1:].contiguous()
        set_rotate_method(self._rotation)
        cut = context_parallel(
            self._mesh,
            buffers=[ids_BN, labels_BN, self.positions_N],
            buffer_seq_dims=[1, 1, 0],
        )
        # The math form has no ring: better none than one that is wrong.
        kernels = (
            *(SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION),
            SDPBackend.EFFICIENT_ATTENTION,
        )
        fused = sdpa_kernel(list(kernels))
        with cut, _grouped_heads_written_out(), fused:
            yield {
                "input_ids": ids_BN,
                "labels": labels_BN,
                "shift_labels": labels_BN,
                "num_items_in_batch": self._labels / self._mesh.size(),
            }

    def _lead_positions(self, model: nn.Module) -> None:
        """Has a table of positions, or the rotation, look up the positions of this rank.

        Given to the model instead (``position_ids``), their leap from the front piece to the one
        from the back would be taken for two texts in a row, and a mask be made of n x n.
        """

        def rotated(
            _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            return args[:1], {**kwargs, "position_ids": self.positions_N[None]}

        def looked_up(_module: nn.Module, _args: Any) -> Tensor:
            return self.positions_N[None]

        for name, module in model.named_modules():
            last = name.rpartition(".")[2]
            if last == "rotary_emb":
                module.register_forward_pre_hook(rotated, with_kwargs=True)
                return
            if last == "wpe":
                module.register_forward_pre_hook(looked_up)
                return
        raise BadInput(
            f"context parallelism of {type(model).__name__}: expected rotary_emb or wpe, where its "
            "positions are known"
        )


@contextmanager
def _grouped_heads_written_out() -> Iterator[None]:
    """Repeats keys and values where a caller leaves grouped heads to SDPA."""
    module: Any = functional
    attend: Callable[..., Tensor] = module.scaled_dot_product_attention

    def attend_all(
        query_BHnD: Tensor,
        key: Tensor,
        value: Tensor,
        *args: Any,
        enable_gqa: bool = False,
        **kwargs: Any,
    ) -> Tensor:
        if enable_gqa:
            groups = query_BHnD.shape[1] // key.shape[1]
            key, value = (one.repeat_interleave(groups, 1) for one in (key, value))
        return attend(query_BHnD, key, value, *args, **kwargs)

    module.scaled_dot_product_attention = attend_all
    try:
        yield
    finally:
        module.scaled_dot_product_attention = attend


def _add_cpu_kernel() -> None:
    """Puts the CPU's kernel beside those of GPUs, which are all that torch's ring knows.

    Its arguments are theirs, less the seeds of a dropout.
    """
    from torch.distributed.tensor import DTensor, Shard
    from torch.distributed.tensor.experimental._context_parallel import _attention

    ring: Any = _attention
    kernel: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    backward: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward

    def on_shards(run: Callable[..., tuple[Tensor, ...]], args: Any) -> tuple[Any, ...]:
        mesh = args[0].device_mesh
        local = [one.to_local() if isinstance(one, DTensor) else one for one in args]
        made = run(mesh.get_group(), *local)
        return tuple(
            DTensor.from_local(one, mesh, [Shard(_SEQUENCE)], run_check=False) for one in made
        )

    def forward_handler(_operator: Any, args: Any, kwargs: Any) -> tuple[Any, ...]:
        def run(group: Any, query: Any, key: Any, value: Any, dropout: float, causal: bool) -> Any:
            return ring._templated_ring_attention(
                group,
                _SEQUENCE,
                kernel,
                query=query,
                key=key,
                value=value,
                is_causal=causal,
                dropout_p=dropout,
                scale=kwargs.get("scale"),
            )

        return on_shards(run, args)

    def backward_handler(_operator: Any, args: Any, kwargs: Any) -> tuple[Any, ...]:
        def run(group: Any, gradient: Any, *given: Any) -> Any:
            query, key, value, out, logsumexp, dropout, causal = given
            return ring._templated_ring_attention_backward(
                group,
                _SEQUENCE,
                backward.default,
                grad_out=gradient,
                grad_out_name="grad_out",
                query=query,
                key=key,
                value=value,
                out=out,
                logsumexp=logsumexp,
                is_causal=causal,
                dropout_p=dropout,
                scale=kwargs.get("scale"),
            )

        return on_shards(run, args)

    ring.custom_ops |= {kernel.default: forward_handler, backward.default: backward_handler}
