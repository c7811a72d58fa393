"""A dead band on the memory: the slow reference, every way to read, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rmtscale.errors import BadInput
from rmtscale.rmt import RMTConfig, RMTForCausalLM, RMTForSequenceClassification, Stream
from rmtscale.rmt.graph import SegmentStep
from rmtscale.rmt.memory import apply_dead_band
from tests.rmt import slow_reference
from tests.rmt.comparing import demand_reference_of_encoder, equal
from tests.rmt.tiny_models import DECODERS, ENCODERS, backbone, padded, tokens

BAND = 0.6
SPECIAL: dict[str, Any] = {"cls_token_id": 1, "sep_token_id": 2}
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def make(
    kind: str = "gpt2", band: float = BAND, dtype: torch.dtype = torch.float64, **more: Any
) -> RMTForCausalLM:
    config = RMTConfig(8, 2, **{"alignment": "left", "dead_band": band, **more})
    model: RMTForCausalLM = RMTForCausalLM(backbone(kind, dtype), config).eval()
    return model


def make_encoder(kind: str, band: float = BAND) -> RMTForSequenceClassification:
    config = RMTConfig(9, 2, dead_band=band, **SPECIAL)
    built = RMTForSequenceClassification(backbone(kind, labels=3), config)
    model: RMTForSequenceClassification = built.eval()
    return model


def test_number_by_number() -> None:
    old = torch.tensor([1.0, 1.0, 1.0, -1.0, 1.0, 1.0], dtype=torch.float64)
    new = torch.tensor([1.25, 1.5, 0.75, 1.0, torch.inf, torch.nan], dtype=torch.float64)
    out = apply_dead_band(old, new, 0.5)
    assert out[:5].tolist() == [1.0, 1.5, 1.0, 1.0, torch.inf]
    assert out[5].isnan(), "what is broken stays visible"
    assert apply_dead_band(old, new, 0.0) is new


@pytest.mark.parametrize("alignment", ["right", "left"])
@pytest.mark.parametrize("kind", DECODERS)
@torch.no_grad()
def test_a_decoder_equals_the_reference(exact: None, kind: str, alignment: str) -> None:
    model = make(kind, alignment=alignment)
    ids, mask = padded([13, 6, 10], 14, True)
    out = model(ids, mask, keep_logits="all")
    given: Any = (model.backbone, model.memory.initial_ME, ids, mask, ids)
    wanted, states = slow_reference.decoder(*given, size=8, alignment=alignment, band=BAND)[1:]
    for row, logits in enumerate(wanted):
        assert (out.logits[row][mask[row].bool()] - logits).abs().max() < 1e-10
    assert (out.memory - torch.stack(states)).abs().max() < 1e-10
    plain = slow_reference.decoder(*given, size=8, alignment=alignment)[2]
    assert (out.memory - torch.stack(plain)).abs().max() > 1e-6, "it has held something"
    assert (out.memory - model.memory.initial_ME).abs().max() > BAND, "it has let something pass"


@pytest.mark.parametrize("kind", ENCODERS)
@torch.no_grad()
def test_an_encoder_equals_the_reference(kind: str) -> None:
    model = make_encoder(kind)
    memory, plain = demand_reference_of_encoder(model, band=BAND)
    assert (memory - plain).abs().max() > 1e-6


@pytest.mark.parametrize("kind", [*DECODERS, *ENCODERS])
def test_zero_is_the_papers_rmt_bit_by_bit(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    build: Any = make if kind in DECODERS else make_encoder
    ids = tokens(2, 23)
    ours = build(kind, 0.0)(ids)
    # As it was before there were dead bands: what comes out of a segment goes into the next.
    monkeypatch.setattr(type(build(kind)), "hand_over", lambda *states: states[2])
    wanted = build(kind, 0.0)(ids)
    assert torch.equal(ours.memory, wanted.memory)
    assert torch.equal(ours.logits, wanted.logits)


def test_a_band_above_every_change_keeps_the_initial_memory() -> None:
    model = make(band=1e6)
    assert equal(model(tokens(1, 23)).memory[0], model.memory.initial_ME)


@pytest.mark.parametrize("kind", DECODERS)
@torch.no_grad()
def test_forward_infer_stream_and_generate_agree(exact: None, kind: str) -> None:
    model, ids = make(kind), tokens(2, 23)
    whole = model(ids)
    read = model.infer(ids)
    stream = Stream(model, 2)
    for column in range(0, 23, 5):
        stream.feed(ids[:, column : column + 5])
    closed = stream.finish()
    for out in (read, closed):
        assert (out.logits - whole.logits).abs().max() < 1e-10
        assert (out.memory - whole.memory).abs().max() < 1e-10
    made = model.generate(ids, max_new_tokens=14, eos_token_id=None)
    for column in range(23, 37):  # token by token, all of it read anew
        again = model(made[:, :column]).logits[:, -1].argmax(-1)
        assert torch.equal(made[:, column], again), column
    assert (make(kind, 0.0)(ids).memory - whole.memory).abs().max() > 1e-6


def test_another_band_is_another_captured_step() -> None:
    model, ids = make(band=0.0), tokens(1, 23)
    plain = model.infer(ids)
    model.set_dead_band(BAND)
    (step,) = model.segment_steps.values()
    held = model.infer(ids)
    assert step not in model.segment_steps.values(), "a captured one would go on with its own band"
    assert equal(held.memory, model(ids).memory)
    model.set_dead_band(0)
    assert equal(model.infer(ids).memory, plain.memory)
    assert not equal(held.memory, plain.memory)


@pytest.mark.parametrize("kind", [*DECODERS, *ENCODERS])
@torch.no_grad()
def test_rows_have_bands_of_their_own(exact: None, kind: str) -> None:
    """Each row comes out as from a model whose one band it is, 0 as plain; in a step as well."""
    build: Any = make if kind in DECODERS else make_encoder
    model, bands = build(kind, 0.3), (0.0, BAND, 1e6, 0.0, 0.3)
    ids = tokens(1, 23).expand(len(bands), -1)
    before = model(ids).memory
    with model.dead_band_of_rows(bands):
        whole = model(ids)
        if kind in DECODERS:
            assert (model.infer(ids).memory - whole.memory).abs().max() < 1e-10
    assert torch.equal(model(ids).memory, before), "the config's again"
    if kind in DECODERS:
        assert (model.infer(ids).memory - before).abs().max() < 1e-10, "no step is kept"
    for row, band in enumerate(bands):
        wanted = build(kind, band)(ids)
        assert torch.equal(whole.memory[row], wanted.memory[row]), band
        assert torch.equal(whole.logits[row], wanted.logits[row]), band
    assert not torch.equal(whole.memory[0], whole.memory[1])


def test_a_compiled_step_takes_them() -> None:
    """Compiled once for all of them: no band is a constant of what was made."""
    model, ids = make(dtype=torch.float32), tokens(2, 6).expand(2, -1)
    made: list[Any] = []

    def count(graph: Any, inputs: Any) -> Any:
        made.append(graph)
        return graph.forward

    backend: Any = count

    for bands in ((0.0, BAND), (0.3, 1e6)):
        with model.dead_band_of_rows(bands), torch.no_grad():
            step = SegmentStep(model, 2, compile_step=True, backend=backend)
            step.start(model.initial_state(2))
            step(ids[:, : model.segment_tokens])
            wanted = model.step(model.initial_state(2), ids[:, : model.segment_tokens])[0]
        assert (step.state_BME - wanted).abs().max() < 1e-6
        assert not equal(step.state_BME[0], step.state_BME[1])
    assert len(made) == 1


def test_rows_that_are_refused() -> None:
    model = make()
    with (
        pytest.raises(BadInput, match=r"dead band -1: expected a number of 0 or more"),
        model.dead_band_of_rows([0.3, -1]),
    ):
        pass
    with model.dead_band_of_rows([0.3, 0.4]), pytest.raises(RuntimeError):
        model(tokens(3, 9))
    with (
        model.dead_band_of_rows([0.0, 0.0]),
        pytest.raises(BadInput, match="in training mode: expected 0, or model"),
    ):
        model.train()(tokens(2, 9))
    assert model.dead_band_B11 is None


def test_it_is_saved_with_the_model(tmp_path: Path) -> None:
    model = make()
    model.save_pretrained(tmp_path)
    assert RMTForCausalLM.from_pretrained(tmp_path).config.dead_band == BAND
    assert RMTConfig().dead_band == 0.0


@pytest.mark.parametrize("build", [make, lambda: make_encoder("bert")])
def test_it_is_for_inference(build: Callable[[], Any]) -> None:
    model = build().train()
    with pytest.raises(BadInput, match=r"dead band 0\.6 in training mode: expected 0, or model"):
        model(tokens(1, 9))


@pytest.mark.parametrize(
    ("band", "words"),
    [
        (-0.1, "dead band -0.1: expected a number of 0 or more"),
        (float("nan"), "dead band nan: expected a number of 0 or more"),
        (float("inf"), "dead band inf: expected a number of 0 or more"),
        (True, "dead band True: expected a number"),
        ("0.3", "dead band '0.3': expected a number"),
    ],
)
def test_values_that_are_refused(band: Any, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        RMTConfig(8, 2, dead_band=band)
    model = make()
    with pytest.raises(BadInput, match=words):
        model.set_dead_band(band)
    assert model.config.dead_band == BAND


def test_a_model_without_memory_has_none() -> None:
    with pytest.raises(BadInput, match=r"dead band 0\.3 without memory tokens: expected 0"):
        RMTConfig(8, 0, dead_band=0.3)


@CUDA
@pytest.mark.gpu
@pytest.mark.parametrize("compile_step", [False, True])
@pytest.mark.parametrize("kind", DECODERS)
def test_the_captured_step_holds_the_same_numbers(kind: str, compile_step: bool) -> None:
    slow, ids = make(kind, dtype=torch.float32), tokens(2, 27)
    model, wanted = copy.deepcopy(slow).cuda(), slow(ids)
    out = model.infer(ids, compile_step=compile_step)
    assert (out.memory.cpu() - wanted.memory).abs().max() < 1e-4
    assert (out.logits.cpu() - wanted.logits).abs().max() < 1e-4
    model.set_dead_band(0)
    slow.set_dead_band(0)
    plain = model.infer(ids, compile_step=compile_step)
    assert (plain.memory.cpu() - slow(ids).memory).abs().max() < 1e-4
    assert (plain.memory - out.memory).abs().max() > 1e-3
