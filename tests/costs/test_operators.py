"""The count of operators against the real modules: every operator that computes, on meta."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rmtscale.costs.operators import ONE_BY_ONE, count_operators
from rmtscale.costs.parameter_shapes import trained_tensors
from rmtscale.specs.catalog import PRESETS
from rmtscale.specs.recurrence import Recurrence
from rmtscale.specs.workload import OPTIMIZERS, Workload

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from tests.costs import oracle_memory as oracle  # noqa: E402
from tests.grids import covering  # noqa: E402
from tests.meta_shapes import RememberedShapes  # noqa: E402

TOLERANCE = 0.10
FAMILIES = ("gpt2", "opt-125m", "gpt-neo-125m", "pythia-70m", "llama-2-7b", "bert-base-cased")
STEPS: dict[str, dict[str, Any]] = {
    "forward": {"mode": "forward"},
    "train": {"mode": "train"},
    "no dropout": {"mode": "train", "dropout": False},
    "segments checkpointed": {"mode": "train", "checkpoint_segments": True, "dropout": False},
}
NO_WORK = ("empty", "_unsafe_view", "detach", "alias", "_reshape_alias", "lift_fresh")


class Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operators that compute: no views, nothing that only allocates."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.partition("::")[2]
        view = any(
            one.alias_info is not None and not one.alias_info.is_write
            for one in func._schema.returns
        )
        self.count += not view and not name.startswith(NO_WORK)
        return func(*args, **(kwargs or {}))


def counted(spec: Any, work: Workload, recurrence: Recurrence | None) -> int:
    operators = Operators()
    with RememberedShapes(), oracle.as_on_the_gpu(), torch.device("meta"), operators:
        tokens = work.tokens if recurrence is None else recurrence.segment_size
        model: Any = oracle.build(spec, replace(work, tokens=tokens))
        if recurrence is not None:
            model = oracle.wrap(model, work, recurrence)
        ids = torch.zeros(work.batch_size, work.tokens, dtype=torch.long)
        operators.count = 0
        if not work.train:
            with torch.no_grad():
                model(ids) if recurrence else oracle.whole_pass(model, spec, ids, train=False)
        elif recurrence is not None:
            oracle.train_segments(model, spec, ids, torch.autograd.backward, work)
        else:
            oracle.whole_pass(model, spec, ids, train=True).loss.backward()
    return operators.count


# A checkpoint per segment means nothing to full attention.
PASSES = [
    (step, recurrence)
    for step in STEPS
    for recurrence in (None, Recurrence(64, 3))
    if recurrence or step != "segments checkpointed"
]


@pytest.mark.parametrize(
    ("name", "attention", "passing"), covering(FAMILIES, ("eager", "sdpa"), PASSES, together=2)
)
def test_operators(name: str, attention: str, passing: tuple[str, Recurrence | None]) -> None:
    """Each family meets each kind of step and of attention; all together in ``make verify``."""
    step, recurrence = passing
    spec = replace(oracle.shrink(PRESETS[name], 4), vocabulary=300)
    fields = STEPS[step] | {"precision": "fp32", "optimizer": "none"}
    work = Workload(tokens=230, attention=attention, **fields)
    found = count_operators(spec, work, recurrence)
    assert found == pytest.approx(counted(spec, work, recurrence), rel=TOLERANCE)


def test_segments_add_up_and_an_optimizer_takes_some() -> None:
    model, recurrence = PRESETS["gpt2"], Recurrence(500, 2)

    def count(tokens: int, **fields: Any) -> int:
        return count_operators(model, Workload(tokens=tokens, **fields), recurrence)

    assert count(4960) == 10 * count(496)
    trained = count(496, mode="train", optimizer="none")
    assert count(496, mode="train") > trained > 2 * count(496)


@pytest.mark.parametrize("name", ["adafactor", "lion", "muon"])
def test_optimizers_that_step_on_one_tensor_after_another(name: str) -> None:
    """Operators of a matrix more, counted on the real optimizer; lists of tensors need none."""
    from rmtscale.profiler.optimizers import make_optimizer

    class Count(TorchDispatchMode):  # type: ignore[no-untyped-call]
        computed: int = 0

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            on_the_host = func.namespace == "profiler" or "item" in str(func)
            on_the_host |= "scalar_dense" in str(func) or "detach" in str(func)
            self.computed += not (func.is_view or on_the_host)
            return func(*args, **(kwargs or {}))

    def step(matrices: int, vectors: int = 1) -> int:
        model = torch.nn.Module()
        model.layers = torch.nn.ModuleList(
            [
                *(torch.nn.Linear(8, 8, bias=False) for _ in range(matrices)),
                *(torch.nn.LayerNorm(8, bias=False) for _ in range(vectors)),
            ]
        )
        optimizer = make_optimizer(name, model)
        for one in model.parameters():
            one.grad = torch.ones_like(one)
        optimizer.step()
        with Count() as count:  # type: ignore[no-untyped-call]
            optimizer.step()
        return int(count.computed)

    vector, matrix = ONE_BY_ONE[name]
    assert step(3) - step(2) == matrix
    if name != "muon":  # whose vectors are AdamW's, here one by one, on a GPU in lists
        assert step(2, 3) - step(2, 2) == vector


def test_operators_of_the_optimizers_in_a_step() -> None:
    """Tensor by tensor: AdamW's of 8 bits one kernel each, Muon's none for a vector."""
    model, work = PRESETS["gpt2"], Workload(tokens=64, mode="train")
    tensors = trained_tensors(model, None, 0)
    vectors = sum(one.copies for one in tensors if len(one.shape) == 1)
    matrices = sum(one.copies for one in tensors) - vectors
    assert (vectors, matrices) == (12 * 8 + 2, 12 * 4 + 2)
    plain = count_operators(model, replace(work, optimizer="none"))
    for name, (vector, matrix) in {
        "adafactor": (10, 19),
        "adamw-8bit": (1, 1),
        "lion": (4, 4),
        "muon": (0, 23),
    }.items():
        more = count_operators(model, replace(work, optimizer=name)) - plain
        assert more == vectors * vector + matrices * matrix, name


def test_every_optimizer_has_its_operators() -> None:
    for name in OPTIMIZERS:
        work = Workload(tokens=64, mode="train", optimizer=name)
        plain = count_operators(PRESETS["gpt2"], replace(work, optimizer="none"))
        assert (count_operators(PRESETS["gpt2"], work) > plain) == (name != "none")
