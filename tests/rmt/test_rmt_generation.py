"""generate() against recomputing everything for every token, and Transformers' settings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from rmtscale.errors import BadInput
from rmtscale.rmt import RMTConfig, RMTForCausalLM
from tests.rmt.tiny_models import DECODERS, VOCABULARY, backbone, padded, tokens


def make(kind: str = "gpt2", memory: int = 2, size: int = 8) -> RMTForCausalLM:
    model: RMTForCausalLM = RMTForCausalLM(
        backbone(kind), RMTConfig(size, memory, alignment="left")
    ).eval()
    return model


def recomputed(
    model: RMTForCausalLM, ids: torch.Tensor, count: int, memory: torch.Tensor | None = None
) -> torch.Tensor:
    """Argmax of a full forward pass, again for every token."""
    for _ in range(count):
        logits = model(ids, memory=memory, keep_logits="last").logits[:, -1]
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
    return ids


@pytest.mark.parametrize("prompt", [1, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("kind", DECODERS)
def test_greedy_equals_full_recomputation_through_many_segments(
    exact: None, kind: str, prompt: int
) -> None:
    model, ids = make(kind), tokens(2, prompt)
    made = model.generate(ids, max_new_tokens=14, eos_token_id=None)
    assert torch.equal(made, recomputed(model, ids, 14))


def test_without_memory_and_from_a_memory() -> None:
    ids = tokens(1, 3)
    plain = make(memory=0, size=4)
    assert torch.equal(
        plain.generate(ids, max_new_tokens=9, eos_token_id=None), recomputed(plain, ids, 9)
    )
    model = make()
    memory = model(tokens(1, 9, seed=5)).memory
    made = model.generate(ids, memory=memory, max_new_tokens=9, eos_token_id=None)
    assert torch.equal(made, recomputed(model, ids, 9, memory))


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize(("lengths", "columns"), [([9, 2, 9, 5], 9), ([9, 2, 9, 5], 11), ([7], 9)])
def test_padded_prompts_equal_one_by_one(lengths: list[int], columns: int, left: bool) -> None:
    model = make()
    ids, mask = padded(lengths, columns, left)
    made = model.generate(ids, mask, max_new_tokens=11, eos_token_id=None)
    assert torch.equal(made[:, :columns], ids)
    for row in range(len(lengths)):
        text = ids[row][mask[row].bool()][None]
        alone = recomputed(model, text, 11)[0, text.shape[1] :]
        assert torch.equal(made[row, columns:], alone), row


def test_it_stops_at_the_end_token_and_pads() -> None:
    model, ids = make(), tokens(2, 5)
    free = recomputed(model, ids, 12)
    end = int(free[0, 7])
    made = model.generate(ids, max_new_tokens=12, eos_token_id=end, pad_token_id=18)
    for row in range(2):
        text = free[row, 5:].tolist()
        stop = text.index(end) + 1 if end in text else 12
        assert made[row, 5 : 5 + stop].tolist() == text[:stop]
        assert all(token == 18 for token in made[row, 5 + stop :].tolist())
    longer = model.generate(
        ids[:1], max_new_tokens=12, eos_token_id=end, pad_token_id=18, min_new_tokens=6
    )
    assert end not in longer[0, 5:11].tolist()


def test_sampling_is_seeded_and_narrowed_by_transformers_own_warpers() -> None:
    model, ids = make(), tokens(1, 4)

    def sample(seed: int, **more: Any) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return model.generate(
            ids, do_sample=True, generator=generator, max_new_tokens=10, eos_token_id=None, **more
        )

    assert torch.equal(sample(1), sample(1))
    assert not torch.equal(sample(1), sample(2))
    greedy = recomputed(model, ids, 10)
    assert torch.equal(sample(3, top_k=1), greedy)
    assert torch.equal(sample(4, top_p=1e-6), greedy)
    assert torch.equal(sample(5, temperature=1e-6), greedy)
    assert not torch.equal(sample(6, temperature=5.0), greedy)


def test_a_sample_follows_the_distribution() -> None:
    """First token of 4000 samples against the softmax at temperature 2 over the best 3."""
    model, prompt = make(), tokens(1, 6)
    logits = model(prompt).logits[0, 0] / 2.0
    best = logits.topk(3).indices
    odds = torch.zeros(VOCABULARY, dtype=torch.float64)
    odds[best] = torch.softmax(logits[best], -1)
    made = model.generate(
        prompt.expand(4000, -1),
        do_sample=True,
        temperature=2.0,
        top_k=3,
        max_new_tokens=1,
        generator=torch.Generator().manual_seed(0),
    )[:, -1]
    seen = torch.bincount(made, minlength=VOCABULARY) / 4000
    assert (seen - odds).abs().max() < 0.03
    assert set(made.tolist()) <= set(best.tolist())


def test_settings_come_from_the_backbone_and_can_be_replaced() -> None:
    model = make()
    model.backbone.generation_config = GenerationConfig(max_new_tokens=3, eos_token_id=None)
    assert model.generate(tokens(1, 4)).shape == (1, 7)
    assert model.generate(tokens(1, 4), max_new_tokens=5).shape == (1, 9)
    own = GenerationConfig(max_length=6)
    assert model.generate(tokens(1, 4), generation_config=own).shape == (1, 6)
    assert model.backbone.generation_config.max_new_tokens == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_beams": 4}, "generation setting num_beams 4: not supported"),
        ({"bad_words_ids": [[1]]}, "generation setting bad_words_ids"),
        ({"colour": 1}, "generation setting 'colour': not one of GenerationConfig"),
        ({"max_new_tokens": 0}, r"generation settings: .*max_new_tokens.*greater than 0"),
        ({"max_new_tokens": 1.5}, "max_new_tokens 1.5: expected a whole number"),
        ({"do_sample": True, "temperature": -1.0}, "generation settings: .*temperature"),
        ({"repetition_penalty": -1.0}, "generation settings: .*penalty"),
        ({"max_length": 4}, "max_length 4: expected room for 1 token or more after a prompt of 5"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make().generate(tokens(1, 5), **given)


def test_a_model_in_training_mode_is_refused() -> None:
    with pytest.raises(BadInput, match="model in training mode"):
        make().train().generate(tokens(1, 5))
