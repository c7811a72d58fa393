"""Figure 5's claims on a pretrained encoder: its targets on so many seeds, recipes apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rmtscale.report.claims import Claim
from rmtscale.study.figures.figure_5 import claims as experiment
from rmtscale.study.figures.memory_tasks.recipes import SEEDS
from rmtscale.study.records.evaluation import EvaluationRecord
from tests.synthetic.evaluations import ENCODER, curve
from tests.synthetic.retention import encoders

pytestmark = pytest.mark.usefixtures("unpainted")


ENCODER_CLAIMS = (
    "Memorize: 99.50 % at 4,096 segments on 3 seeds",
    "Detect & Memorize: 99.50 % at 4,096 segments on 3 seeds",
    "Reasoning: 85.00 % at 4,096 segments on 2 seeds",
)


def encoder_claims(found: list[EvaluationRecord]) -> dict[str, Claim]:
    made = experiment.check_encoder(experiment.by_task(found), experiment.paper_curves())
    return {claim.text.removeprefix("Pretrained encoder, "): claim for claim in made}


@pytest.mark.parametrize(
    ("accuracy", "seeds", "outcomes"),
    [
        (0.995, SEEDS, ["pass", "pass", "pass"]),
        (0.994, SEEDS, ["fail", "fail", "pass"]),
        (0.849, SEEDS, ["fail", "fail", "fail"]),
        (1.0, (0, 1), ["not measurable", "not measurable", "pass"]),
        (1.0, (0,), ["not measurable"] * 3),
    ],
)
def test_a_pretrained_encoder_on_its_seeds(
    accuracy: float, seeds: tuple[int, ...], outcomes: list[str]
) -> None:
    found = encoder_claims(encoders(accuracy, seeds))
    assert [found[text].outcome for text in ENCODER_CLAIMS] == outcomes
    assert not any(" seed 0: 99.50 %" in text for text in found), "the decoder's targets"


def test_lora_and_all_weights_do_not_lend_each_other_seeds() -> None:
    whole = replace(ENCODER, lora_rank=None)
    ours = [
        *curve([64, 4096], 0.9, trained_backbone=ENCODER, weights="adapter"),
        *(
            one
            for seed in SEEDS
            for one in curve(
                [64, 4096], 1.0, trained_backbone=whole, trained_seed=seed, weights=f"whole {seed}"
            )
        ),
    ]
    found = encoder_claims(ours)
    end = ": 99.50 % at 4,096 segments on 3 seeds"
    assert found[f"Memorize, LoRA{end}"].outcome == "fail"
    assert found[f"Memorize, all weights{end}"].outcome == "pass"
    assert f"Memorize{end}" not in found
    assert found[f"Detect & Memorize{end}"].ours == "no run yet"


def test_a_seed_trained_again_counts_once_by_its_worst() -> None:
    """Neither a later training nor one with fewer samples takes the place of a worse one."""
    whole = replace(ENCODER, lora_rank=None)
    other = replace(whole, name="rounded")

    def said(*again: tuple[float, int]) -> tuple[str, str]:
        ours = [
            one
            for seed in SEEDS
            for one in curve(
                [64, 4096], 1.0, trained_backbone=whole, trained_seed=seed, weights=f"first {seed}"
            )
        ]
        for at, (accuracy, samples) in enumerate(again):
            ours += curve(
                [4096], accuracy, samples=samples, trained_backbone=other, weights=f"again {at}"
            )
        claim = encoder_claims(ours)["Memorize: 99.50 % at 4,096 segments on 3 seeds"]
        return claim.ours, claim.outcome

    assert said() == ("worst of 3 seeds 100.00 % (99.62 to 100.00)", "pass")
    twice = "worst of 3 seeds (seed 0: the worse of 2 trainings)"
    assert said((0.75, 400)) == (f"{twice} 75.00 % (70.53 to 78.99)", "fail")
    # As many right of fewer samples is known less well.
    assert said((1.0, 64)) == (f"{twice} 100.00 % (94.34 to 100.00)", "pass")
    thrice = "worst of 3 seeds (seed 0: the worst of 3 trainings)"
    assert said((1.0, 64), (0.75, 400)) == (f"{thrice} 75.00 % (70.53 to 78.99)", "fail")
    seeds = encoder_claims(
        [
            *curve([4096], 1.0, trained_backbone=whole, weights="first"),
            *curve([4096], 1.0, trained_backbone=other, weights="again"),
            *curve([4096], 1.0, trained_backbone=whole, weights="third", trained_seed=1),
        ]
    )["Memorize: 99.50 % at 4,096 segments on 3 seeds"]
    assert seeds.outcome == "not measurable", "three trainings of two seeds are no third seed"


def test_a_pretrained_encoder_without_a_run() -> None:
    found = encoder_claims([])
    assert {text: claim.ours for text, claim in found.items()} == dict.fromkeys(
        ENCODER_CLAIMS, "no run yet"
    )
    short = encoder_claims([one for one in encoders() if one.point.segments < 512])
    assert [short[text].ours for text in ENCODER_CLAIMS] == ["not evaluated there"] * 3
