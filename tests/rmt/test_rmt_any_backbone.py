"""Any backbone: equal to a slow loop, checked when it is wrapped, and refused by what fails."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import nn
from transformers import GenerationConfig

from rmtscale.errors import BadInput
from rmtscale.rmt import RMTConfig, RMTForCausalLM, Stream
from rmtscale.rmt.checks import check_body
from rmtscale.rmt.open_segment import CacheUse, cache_use
from tests.grids import THOROUGH, covering
from tests.rmt.any_backbone import AGREED, committed, difference, slow_causal, table
from tests.rmt.any_backbone import row as row_of
from tests.rmt.comparing import equal
from tests.rmt.tiny_models import backbone
from tests.rmt.tiny_types import CAUSAL, tiny_model

KINDS = {
    "bloom": "no position table, biases by distance",
    "gemma2": "soft-cap, scaled embeddings, windows",
    "granite": "scaled logits",
    "cohere": "parallel blocks, scaled logits",
    "mixtral": "experts",
    "deepseek_v3": "latent attention, shared experts",
    "mamba": "a state, no attention",
    "jamba": "attention and states, experts",
    "roberta": "positions behind the padding id, a head of two layers",
    "bart": "the decoder of an encoder-decoder alone",
    "qwen3_next": "gated delta rule",
    "ctrl": "scales its input in place",
}


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_every_gradient_equal_a_slow_loop(kind: str) -> None:
    assert difference(kind) < AGREED


@pytest.mark.parametrize("kind", ["deberta", "roberta", "xlnet", "mpnet"])
def test_an_encoder_equals_a_slow_loop(kind: str) -> None:
    assert difference(kind, encoder=True) < AGREED


def test_the_table_of_all_types_is_that_of_the_code() -> None:
    rows = committed()
    causal = [row for row in rows if row["class"] == CAUSAL.get(row["model_type"])]
    encoders = rows[len(causal) :]
    assert sum(row["rmt"] == "equal" for row in causal) >= 130
    assert sum(row["rmt"] == "equal" for row in encoders) >= 12
    assert not [row for row in rows if row["rmt"] not in ("equal", "refused", "not built")]
    assert all(row["reason"] for row in rows if row["rmt"] != "equal")
    if THOROUGH:
        assert [_told(row) for row in table()] == [_told(row) for row in rows]
        return
    known = {row["model_type"]: _told(row) for row in causal}
    for kind in ("phi", "zamba2", "musicgen", "llama4"):
        assert _told(row_of(kind, encoder=False)) == known[kind]


def _told(row: dict[str, str]) -> tuple[str, ...]:
    """All but the difference, which is one of rounding."""
    return tuple(value for name, value in row.items() if name != "difference")


@pytest.mark.parametrize(
    ("kind", "bptt_segments"), covering(["mixtral", "qwen3_moe", "jamba"], [None, 2])
)
def test_the_loss_that_balances_experts_is_kept(kind: str, bptt_segments: int | None) -> None:
    """The mean over the segments, as large as its coefficient says."""
    inner: Any = tiny_model(kind)
    model = RMTForCausalLM(inner, RMTConfig(8, 2, bptt_segments=bptt_segments)).eval()
    model.memory.reset(0.5)
    ids = torch.randint(3, 90, (1, 11))
    plain = model(ids, labels=ids).loss
    inner.config.output_router_logits = True
    inner.config.router_aux_loss_coef = inner.router_aux_loss_coef = 0.5
    loss = model(ids, labels=ids).loss
    body = inner.get_submodule(model.body.path)
    initial = model.memory.initial_ME
    assert initial is not None
    expected = slow_causal(inner, body, initial, ids, (11,))
    assert plain is not None
    assert loss is not None
    assert float(loss - plain) > 0.1
    assert abs(float(loss - expected)) < 1e-6, "attention and norms round to float32"
    gates = [p for name, p in inner.named_parameters() if "gate" in name or "router" in name]
    ours = torch.autograd.grad(loss, gates, allow_unused=True)
    if bptt_segments is None:
        theirs = torch.autograd.grad(expected, gates, allow_unused=True)
        for one, other in zip(ours, theirs, strict=True):
            assert one is not None
            assert torch.allclose(one, other, atol=1e-6)


def test_an_rmt_without_memory_is_its_backbone() -> None:
    inner = tiny_model("gemma2", dtype=torch.float32)
    model = RMTForCausalLM(inner, RMTConfig(16, 0)).eval()
    ids = torch.randint(3, 90, (2, 12))
    theirs = inner(ids, use_cache=False).logits
    assert equal(model(ids, keep_logits="all").logits, theirs)
    assert float(theirs.detach().abs().max()) > 1, "the soft-cap is at work"


@pytest.mark.parametrize("kind", KINDS)
def test_generate_goes_on_as_a_whole_run_does(kind: str) -> None:
    model = RMTForCausalLM(tiny_model(kind), RMTConfig(10, 2)).eval()
    model.memory.reset(0.5)
    ids = torch.randint(3, 90, (2, 8))
    made = model.generate(ids, generation_config=GenerationConfig(), max_new_tokens=9)
    model.config.alignment = "left"
    for end in range(8, 17, 1 if THOROUGH else 2):
        logits = model(made[:, :end]).logits
        assert logits is not None
        assert equal(logits[:, 0].argmax(-1), made[:, end]), (end, kind)


def test_a_cache_is_used_where_it_works() -> None:
    used = {kind: cache_use(model.body, model.backbone) for kind, model in _wrapped(KINDS)}
    assert used["bloom"] == CacheUse("past_key_values", many_at_once=True)
    assert used["mamba"] == CacheUse("cache_params", many_at_once=False)
    # RoBERTa's own counts positions anew; this BART's has as many layers as its encoder.
    assert {kind for kind, use in used.items() if use is None} == {"roberta", "bart"}


def _wrapped(kinds: Any) -> Any:
    for kind in kinds:
        yield kind, RMTForCausalLM(tiny_model(kind), RMTConfig(10, 2)).eval()


def test_infer_and_stream_are_forward() -> None:
    for kind, model in _wrapped(("gemma2", "mamba")):
        model.config.alignment = "left"
        ids = torch.randint(3, 90, (2, 15))
        out = model(ids)
        assert equal(model.infer(ids).logits, out.logits), kind
        stream = Stream(model, 2)
        for part in torch.split(ids, 4, dim=1):
            stream.feed(part)
        logits = stream.finish().logits
        assert logits is not None
        assert torch.allclose(logits, out.logits, atol=1e-12), kind


class _Odd(transformers.BloomForCausalLM):  # type: ignore[misc]
    """A model with one fault, which one check each has to see."""

    fault = ""

    def forward(self, **given: Any) -> Any:
        out = super().forward(**given)
        if self.fault == "logits" and given.get("input_ids") is not None:
            out.logits = out.logits + given["input_ids"].float().mean()
        return out


def _ids_only(self: Any, given: Any, out: Any) -> Any:
    return out * 1.01 if given.get("input_ids") is not None else out


def _bidirectional(self: Any, given: Any, out: Any) -> Any:
    return out + 0.1 * out.flip(1)


def _apart(self: Any, given: Any, out: Any) -> Any:
    embeds = given.get("inputs_embeds")
    return self.word_embeddings(given["input_ids"]) if embeds is None else embeds


def _cut(self: Any, given: Any, out: Any) -> Any:
    return out.detach()


def _part(self: Any, given: Any, out: Any) -> Any:
    keep = torch.ones_like(out)
    keep[:, :2] = 0
    return out * keep + (out * (1 - keep)).detach()


def _wider(self: Any, given: Any, out: Any) -> Any:
    return torch.cat([out, out], -1)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (_ids_only, "embeddings do not give what their ids give"),
        (_bidirectional, "not causal: a later token changes what stands before it"),
        (_apart, "a token changes nothing behind it"),
        (_cut, "no gradient reaches its input"),
        (_wider, "width in is not width out"),
    ],
)
def test_every_check_sees_its_fault(fault: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tiny_model("bloom")
    whole = transformers.BloomModel.forward

    def faulty(self: Any, input_ids: Any = None, inputs_embeds: Any = None, **given: Any) -> Any:
        out = whole(self, input_ids=input_ids, inputs_embeds=inputs_embeds, **given)
        both = {"input_ids": input_ids, "inputs_embeds": inputs_embeds}
        out.last_hidden_state = fault(self, both, out.last_hidden_state)
        return out

    monkeypatch.setattr(transformers.BloomModel, "forward", faulty)
    if fault is _wider:
        inner.lm_head = nn.Linear(2 * inner.config.hidden_size, 101, bias=False).double()
    with pytest.raises(BadInput, match=said) as raised:
        RMTForCausalLM(inner, RMTConfig(8, 2))
    assert "BloomForCausalLM (model_type 'bloom')" in str(raised.value)


def test_logits_of_more_than_hidden_states_are_refused() -> None:
    inner = tiny_model("bloom", dtype=torch.float32)
    inner.__class__ = _Odd
    inner.fault = "logits"
    with pytest.raises(BadInput, match="logits are not made of the last hidden states alone"):
        RMTForCausalLM(inner, RMTConfig(8, 2))


def test_a_weight_of_zero_hides_nothing() -> None:
    """Gemma 3n looks up ids in every layer; of freshly drawn weights a scale of zero hides it."""
    inner = tiny_model("gemma3n_text")
    with torch.no_grad():
        for name, parameter in inner.named_parameters():
            if name.endswith("correct_output_scale"):
                parameter.zero_()
    ids = torch.randint(3, 90, (1, 5))
    embeds = inner.get_input_embeddings()(ids)
    assert equal(inner(ids).logits, inner(inputs_embeds=embeds).logits)
    with pytest.raises(BadInput, match="embeddings do not give what their ids give"):
        RMTForCausalLM(inner, RMTConfig(8, 2))
    scale: Any = inner.model.layers[0].altup.correct_output_scale
    assert not scale.any(), "is as it was"


REFUSED = {
    "bert": ({"is_decoder": False}, "not causal"),
    "gemma4_text": ({}, "does not run on inputs_embeds"),
    "xlnet": ({}, "not causal"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_says_why(kind: str) -> None:
    given: Any
    given, said = REFUSED[kind]
    with pytest.raises(BadInput, match=said):
        RMTForCausalLM(tiny_model(kind, **given), RMTConfig(8, 2))


def test_a_segment_has_to_fit_in_any_position_table() -> None:
    inner = tiny_model("roberta")
    room = inner.config.max_position_embeddings - inner.config.pad_token_id - 1
    RMTForCausalLM(inner, RMTConfig(room, 2))
    with pytest.raises(BadInput, match=f"segment size {room + 1}: expected {room} or less"):
        RMTForCausalLM(inner, RMTConfig(room + 1, 2))
    RMTForCausalLM(tiny_model("bloom"), RMTConfig(10_000, 2))


def test_wrapping_leaves_the_backbone_as_it_was() -> None:
    inner = tiny_model("mixtral").train()
    inner.lm_head.eval()
    before = {name: value.clone() for name, value in inner.state_dict().items()}
    modes = [module.training for module in inner.modules()]
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    with torch.inference_mode():
        RMTForCausalLM(inner, RMTConfig(8, 0))
    assert equal(torch.random.get_rng_state(), state)
    assert [module.training for module in inner.modules()] == modes
    assert all(equal(value, before[name]) for name, value in inner.state_dict().items())
    assert all(parameter.grad is None for parameter in inner.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in inner.modules())


def test_families_are_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rmtscale.rmt.backbones.check_body", None)
    RMTForCausalLM(backbone("llama"), RMTConfig(8, 2))
    with torch.device("meta"):
        inner = transformers.BloomForCausalLM(transformers.BloomConfig(n_layer=1))
    monkeypatch.undo()
    model = RMTForCausalLM(inner, RMTConfig(8, 2))
    assert check_body(inner, model.body, causal=True) is None, "nothing to check without values"
