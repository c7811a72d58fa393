"""Peak candidates of a method other than full attention and RMT.

The backbone's as they are, but attention's saved activations are the method's own, and it forms no
square. While one layer of the mixing runs forward, what it would keep is taken to be alive at once;
its temporaries in the backward pass are taken to be those of a fused attention. Biases and vectors
of the mixing are left as the backbone has them.
"""

from __future__ import annotations

from collections.abc import Iterator

from rmtscale.costs.activations import Saved
from rmtscale.costs.methods.method import Method
from rmtscale.costs.peak_candidates import PeakCandidate, Segment, Step
from rmtscale.specs.model import ModelSpec
from rmtscale.specs.workload import Workload


def method_weights(model: ModelSpec, method: Method) -> int:
    """Parameters that the method has more (or fewer) than the backbone's attention."""
    attention = 2 * model.layers * model.width * (model.query_width + model.kv_width)
    return method.weights(model) - attention


class MethodStep(Step):
    """One forward pass or one training step, over the positions that are alive at once."""

    def __init__(
        self, model: ModelSpec, workload: Workload, gradients: int, method: Method
    ) -> None:
        super().__init__(model, workload, gradients)
        self.rates = self.rates._replace(fused=True, attention_pair=0, pair_work=0, row_block=0)
        self.method = method
        tokens, batch, w = workload.tokens, workload.batch_size, workload.dtype_bytes
        self.positions = method.at_once(model, tokens, train=workload.train)
        # Where the input is read piece by piece, the state is there all the time.
        piecewise = self.positions < method.positions(model, tokens)
        self.state = batch * method.state_bytes(model, tokens, w) if piecewise else 0

    def segment(self, size: int, text: int) -> Segment:
        del size  # what is alive at once is the method's to say
        model, workload = self.model, self.workload
        segment = super().segment(self.positions, min(text, self.positions))
        kept = workload.batch_size * self.method.kept_bytes(
            model, self.positions, workload.dtype_bytes
        )
        saved = 0 if workload.checkpoint_layers else kept * model.layers
        forward = max(segment.work.forward, kept + 2 * segment.hidden)
        return segment._replace(
            mask=0,
            layer=Saved(kept, segment.layer.other),
            backbone=Saved(saved, segment.backbone.other),
            work=segment.work._replace(forward=forward),
        )

    def forward(self) -> Iterator[PeakCandidate]:
        for candidate in super().forward():
            yield candidate._replace(state=candidate.state + self.state)

    def train(self) -> Iterator[PeakCandidate]:
        for candidate in super().train():
            yield candidate._replace(state=candidate.state + self.state)
