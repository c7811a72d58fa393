"""The dead band from records: pairs of a checkpoint, claims that hold, fail or cannot be told."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from rmtscale.errors import BadInput
from rmtscale.report.claims import Claim
from rmtscale.study.figures.dead_band.claims import check_claims
from rmtscale.study.figures.dead_band.comparisons import compare, groups_of
from rmtscale.study.figures.dead_band.drawing import draw
from rmtscale.study.figures.memory_tasks import encoder_recipes
from rmtscale.study.figures.memory_tasks.backbones import PRETRAINED_ENCODER, RANDOM_DECODER
from rmtscale.study.figures.memory_tasks.published import paper_points
from rmtscale.study.figures.memory_tasks.summary import summary_table
from rmtscale.study.records.evaluation import EvaluationRecord
from rmtscale.study.records.widths import WidthRecord
from rmtscale.study.training.memory_tasks.learned import learned
from tests.command_line import Command
from tests.legible import problems
from tests.synthetic.evaluations import DECODER, ENCODER, curve
from tests.synthetic.widths import measured, reading

pytestmark = pytest.mark.usefixtures("unpainted")
LENGTHS = (64, 4096)
REPORTS = Path(__file__).parents[2] / "reports"


def pair(
    held: float, plain: float, task: str = "reasoning", seed: int = 0, samples: int = 400
) -> list[EvaluationRecord]:
    """One checkpoint with a dead band and without."""
    given = {"task": task, "trained_seed": seed, "samples": samples}
    return [*curve(LENGTHS, held, dead_band=0.3, **given), *curve(LENGTHS, plain, **given)]


def claims(records: list[EvaluationRecord]) -> dict[str, Claim]:
    paper = {task: points for (task,), points in paper_points("figure_5", ("segments",)).items()}
    made = [
        claim
        for kind, ours in compare(records).items()
        for claim in check_claims(ours, paper, kind=kind)
    ]
    by_text = {claim.text: claim for claim in made}
    assert len(by_text) == len(made)  # no two kinds say the same
    return by_text


def encoder_pair(
    held: float,
    plain: float | None,
    task: str = "detect-memorize",
    seed: int = 0,
    *,
    dead_band: float = 0.4,
) -> list[EvaluationRecord]:
    """One pretrained encoder with a dead band, and without where that is given."""
    given = {
        "task": task,
        "trained_seed": seed,
        "samples": 400,
        "segment_tokens": 499,
        "weights": f"encoder-{task}-{seed}",
        "trained_backbone": ENCODER,
        "merged_lora": True,
    }
    with_one = curve(LENGTHS, held, dead_band=dead_band, **given)
    return with_one if plain is None else [*with_one, *curve(LENGTHS, plain, **given)]


def test_all_hold() -> None:
    records = [record for seed in (0, 1, 2) for record in pair(0.99, 0.76, seed=seed)]
    found = claims([*records, *pair(1, 1, "memorize"), *pair(1, 1, "detect-memorize")])
    assert {claim.outcome for claim in found.values()} == {"pass"}
    assert len(found) == 3 * 3 + 1 + 2
    assert found["Reasoning: on 3 seeds"].ours == "3 of 3 reach it"
    target = found["Reasoning, seed 1: 97.00 % at 4,096 segments"]
    assert (target.paper, target.tolerance) == ("81.90 % without one", "exact")


@pytest.mark.parametrize(("accuracy", "outcome"), [(0.97, "pass"), (0.9675, "fail")])
def test_the_target(accuracy: float, outcome: str) -> None:
    found = claims(pair(accuracy, 0.5))
    assert found["Reasoning, seed 0: 97.00 % at 4,096 segments"].outcome == outcome


def test_one_seed_is_not_three() -> None:
    claim = claims(pair(1, 0.5))["Reasoning: on 3 seeds"]
    assert (claim.outcome, claim.ours) == ("not measurable", "weights of 1 of 3 are kept")
    three = [record for seed in (0, 1, 2) for record in pair(1 - 0.05 * seed, 0.5, seed=seed)]
    claim = claims(three)["Reasoning: on 3 seeds"]
    assert (claim.outcome, claim.ours) == ("fail", "1 of 3 reach it")


@pytest.mark.parametrize(("held", "outcome"), [(0.81, "fail"), (0.84, "pass")])
def test_above_plain_is_more_than_chance(held: float, outcome: str) -> None:
    """Of 400 samples 5 % more may be chance, 8 % may not."""
    found = claims(pair(held, 0.76))
    assert found["Reasoning, seed 0: above plain at 4,096 segments"].outcome == outcome


@pytest.mark.parametrize(("held", "outcome"), [(0.999, "pass"), (0.994, "fail")])
def test_not_below_plain(held: float, outcome: str) -> None:
    """Of 1,000 samples one less may be chance, six less are not."""
    claim = claims(pair(held, 1, "memorize", samples=1000))[
        "Memorize, seed 0: not below plain at any length"
    ]
    assert claim.outcome == outcome
    assert claim.ours.startswith("at all 2" if outcome == "pass" else "below it at 2 of 2, most")


def test_what_was_not_evaluated_cannot_be_told() -> None:
    found = claims(curve((64,), 1.0, task="reasoning", dead_band=0.3))
    outcomes = {claim.outcome for claim in found.values()}
    assert outcomes == {"not measurable"}
    assert len(found) == 4


def test_bands_are_not_mixed() -> None:
    with pytest.raises(BadInput, match="records without a dead band: expected some of"):
        compare(curve(LENGTHS, 1.0))
    two = [*pair(1, 1), *curve((8,), 1.0, task="reasoning", dead_band=0.5)]
    with pytest.raises(BadInput, match=r"dead bands 0\.3 or 0\.5 of reasoning, seed 0: expected"):
        compare(two)


def test_kinds_of_backbone_are_apart() -> None:
    """The same task and seed of two kinds: each has its own width, curves and claims."""
    both = [*pair(0.5, 1, "detect-memorize"), *pair(0.99, 0.76), *encoder_pair(1, 0.9)]
    kinds = compare(both)
    assert list(kinds) == ["", PRETRAINED_ENCODER]
    decoder, encoder = (ours["detect-memorize"]["seed 0"] for ours in kinds.values())
    assert (decoder.dead_band, encoder.dead_band) == (0.3, 0.4)
    assert {one.accuracy for one in decoder.plain.values()} == {1.0}
    assert {one.accuracy for one in encoder.plain.values()} == {0.9}
    found = claims(both)
    name = "Detect & Memorize, seed 0: not below plain at any length"
    assert found[name].outcome == "fail"
    assert found[f"Pretrained encoder, {name}"].outcome == "pass"
    # What the decoder says is what it says alone.
    alone = claims([record for record in both if record.trained_backbone is None])
    assert {text: found[text] for text in alone} == alone


def test_what_an_encoder_has_to_keep() -> None:
    held = {0: 0.995, 1: 1.0, 2: 1.0}
    plain = {0: 0.6, 1: 0.9, 2: 0.9975}
    records = [one for seed in held for one in encoder_pair(held[seed], plain[seed], seed=seed)]
    directions = [one for seed in held for one in encoder_pair(0.97, 0.6, "reasoning", seed)]
    found = claims([*records, *directions, *encoder_pair(1, 1, "memorize")])
    title = "Pretrained encoder, Detect & Memorize"
    assert {claim.outcome for claim in found.values()} == {"pass"}
    assert found["Pretrained encoder, Reasoning: on 3 seeds"].ours == "3 of 3 reach it"
    text = "Pretrained encoder, Reasoning, seed 1: 97.00 % at 4,096 segments"
    assert found[text].paper == "81.90 % without one"
    assert found[f"{title}: on 3 seeds"].ours == "3 of 3 reach it"
    assert found[f"{title}, seed 0: 99.50 % at 4,096 segments"].paper == "96.07 % without one"
    # Seed 2 has reached it without: it cannot be above.
    above = [text for text in found if "above plain" in text and "Reasoning" not in text]
    assert above == [f"{title}, seed {seed}: above plain at 4,096 segments" for seed in (0, 1)]
    fewer = claims(encoder_pair(0.9925, None))
    assert fewer[f"{title}, seed 0: 99.50 % at 4,096 segments"].outcome == "fail"
    # A seed that misses it settles the claim, whatever others would have.
    three = fewer[f"{title}: on 3 seeds"]
    assert (three.outcome, three.ours) == ("fail", "0 of 1 reach it")
    reached = claims(encoder_pair(0.995, None))[f"{title}: on 3 seeds"]
    assert (reached.outcome, reached.ours) == ("not measurable", "read on 1 of 3")
    none = fewer["Pretrained encoder, Reasoning: on 3 seeds"]
    assert (none.outcome, none.ours) == ("not measurable", "read on 0 of 3")
    each = len(directions) // 3
    two = claims(directions[: 2 * each])["Pretrained encoder, Reasoning: on 3 seeds"]
    assert (two.outcome, two.ours) == ("not measurable", "read on 2 of 3")
    missed = claims([*directions[: 2 * each], *encoder_pair(0.9675, 0.6, "reasoning", 2)])
    assert missed["Pretrained encoder, Reasoning: on 3 seeds"].ours == "2 of 3 reach it"
    assert missed["Pretrained encoder, Reasoning: on 3 seeds"].outcome == "fail"
    assert fewer[f"{title}, seed 0: above plain at 4,096 segments"].outcome == "not measurable"


def test_plain_is_of_the_same_weights() -> None:
    """Other weights of the same seed are another training, merged LoRA is the same one."""
    held = encoder_pair(1, None)
    others = curve(LENGTHS, 0.2, task="detect-memorize", weights="x", trained_backbone=ENCODER)
    (ours,) = compare([*held, *others]).values()
    assert ours["detect-memorize"]["seed 0"].plain == {}
    plain = encoder_pair(1, 0.9)[2:]
    unmerged = [replace(one, point=replace(one.point, merged_lora=False)) for one in plain]
    (ours,) = compare([*held, *unmerged]).values()
    assert ours["detect-memorize"]["seed 0"].shared() == list(LENGTHS)
    twice = [replace(one, point=replace(one.point, weights="y")) for one in held]
    (ours,) = compare([*held, *twice]).values()
    assert len(ours["detect-memorize"]) == 2


def test_a_note_holds_for_all_records_of_its_weights() -> None:
    """Weights that were read before backbones were noted, and after."""
    held, plain = pair(0.99, 0.76)[:2], pair(0.99, 0.76)[2:]
    noted = [replace(one, trained_backbone=DECODER) for one in held]
    kinds = compare([*noted, *plain])
    assert list(kinds) == [RANDOM_DECODER]
    assert kinds[RANDOM_DECODER]["reasoning"]["seed 0"].shared() == list(LENGTHS)


def test_each_kind_has_a_row_of_panels() -> None:
    kinds = compare([*pair(0.99, 0.76), *pair(1, 1, "memorize"), *encoder_pair(1, 0.9)])
    drawn = draw(groups_of(kinds))
    titles = [axes.get_title(loc="left") for axes in drawn.axes]
    assert titles == [
        "Memorize, 1 seed",
        "Reasoning, 1 seed",
        "Detect & Memorize, 1 seed\npretrained encoder, LoRA",
    ]
    places = [axes.get_subplotspec() for axes in drawn.axes]
    assert [(place.rowspan.start, place.colspan.start) for place in places if place] == [
        (0, 0), (0, 2), (1, 1),
    ], "a task has its column, whether a kind was read on it or not"  # fmt: skip
    assert [
        {line.get_gid() for line in axes.lines if line.get_gid()} for axes in drawn.axes
    ] == 3 * [{"plain", "with a dead band"}]
    headline = " ".join(drawn.get_suptitle().split())
    assert headline == (
        "Right with a dead band (plain) at 2.04M to 2.06M tokens, worst to best: "
        "Memorize 100 % (100 %), Detect & Memorize 100 % (90 %), Reasoning 99 % (76 %)"
    )


def test_a_headline_compares_equal_lengths() -> None:
    """Plain was not read at the longest: what it has at a shorter one is not held against it."""
    records = [*encoder_pair(1, None)[1:], *encoder_pair(0.5, 0.9)[::2], *pair(1, 0.76)]
    groups = groups_of(compare(records))
    shown = " ".join(draw(groups).get_suptitle().split())
    assert "Detect & Memorize 50 % (90 %) after 31.9k" in shown
    cells = summary_table(groups).replace("\N{NO-BREAK SPACE}", " ").splitlines()[-1]
    assert "| 100 % (plain not read), 1 seed; 50 % (90) after 31.9k, 1 seed |" in cells


def test_of_what_was_not_compared_nothing_is_said() -> None:
    groups = groups_of(compare(encoder_pair(0.9, None)))
    assert draw(groups).get_suptitle().endswith("no\nlength was compared yet")
    cells = summary_table(groups).replace("\N{NO-BREAK SPACE}", " ").splitlines()[-1]
    assert cells == "| Pretrained encoder, LoRA | 90 % (plain not read), 1 seed |"


def test_seeds_that_end_apart_are_named() -> None:
    """Those of one way that end within a few points share a name; where all do, none is named."""
    ends = {0: (0.98, 0.65), 1: (0.92, 0.9), 2: (1.0, 1.0)}
    apart = [
        one for seed, (held, plain) in ends.items() for one in encoder_pair(held, plain, seed=seed)
    ]
    alike = [one for seed in ends for one in encoder_pair(1, 0.98, "memorize", seed=seed)]
    memorize, detect = draw(groups_of(compare([*apart, *alike]))).axes
    assert {text.get_text() for text in memorize.texts} == {"chance"}
    assert sorted(text.get_text() for text in detect.texts) == [
        "chance", "seed 0", "seed 1", "seed 1", "seed 2", "seeds 0, 2",
    ]  # fmt: skip


def test_a_panel_has_the_recipe_that_was_read_with_the_most_seeds() -> None:
    """And first lines and table have the others, with how far they were read."""
    usual = [one for seed in (0, 1) for one in encoder_pair(0.99, 0.9 - 0.1 * seed, seed=seed)]
    told = learned(
        replace(encoder_recipes.pretrained_encoder("detect-memorize", 0), told_weight=0.3)
    )
    other = [replace(one, trained_with=(told,)) for one in encoder_pair(0.95, 0.6, seed=2)]
    alone = [*pair(0.99, 0.76, "detect-memorize"), *pair(1, 0.76)]
    groups = groups_of(compare([*usual, *other, *encoder_pair(1, 1, "reasoning"), *alone]))
    figure = draw(groups)
    titles = [" ".join(axes.get_title(loc="left").split()) for axes in figure.axes]
    assert titles == [
        "Detect & Memorize, 1 seed",
        "Reasoning, 1 seed",
        "Detect & Memorize, 2 seeds pretrained encoder, LoRA",
        "Reasoning, 1 seed pretrained encoder, LoRA",
    ]
    assert problems(figure) == []
    shown = " ".join(figure.get_suptitle().split())
    assert "Detect & Memorize 95 to 99 % (60 to 90 %)" in shown
    _, _, *rows = summary_table(groups).replace("\N{NO-BREAK SPACE}", " ").splitlines()
    assert rows == [
        "| Backbone not noted | **99 % (76), 1 seed** | **100 % (76), 1 seed** |",
        "| Pretrained encoder, LoRA | **99 % (80 to 90), 2 seeds** | **100 % (100), 1 seed** |",
        "| Pretrained encoder, LoRA, told weight 0.3 | 95 % (60), 1 seed |  |",
    ]
    # Of three seeds against two of the usual recipe the three are drawn, and the title says so.
    more = [
        replace(one, trained_with=(told,), point=replace(one.point, weights=f"t{seed}"))
        for seed in (0, 1)
        for one in encoder_pair(0.95, 0.6, seed=seed)
    ]
    figure = draw(groups_of(compare([*usual, *other, *more, *alone])))
    titles = [" ".join(axes.get_title(loc="left").split()) for axes in figure.axes]
    assert titles[-1] == "Detect & Memorize, 3 seeds pretrained encoder, LoRA, told weight 0.3"


def test_the_page_of_both_kinds(rmtscale: Command, tmp_path: Path) -> None:
    """The decoder's part is the page that it has alone, and the encoder has a section."""
    encoders = [one for seed in (0, 1) for one in encoder_pair(1 - 0.01 * seed, 0.9, seed=seed)]
    pages = []
    for name, records in {"one": pair(0.99, 0.75), "both": [*pair(0.99, 0.75), *encoders]}.items():
        file = tmp_path / name / "records.jsonl"
        file.parent.mkdir()
        file.write_text("".join(f"{record.to_line()}\n" for record in records))
        given = ["--records", str(file), "--out", str(tmp_path / name / "out")]
        assert rmtscale("reproduce", "dead-band", *given).code in (0, 1)
        pages.append((tmp_path / name / "out" / "README.md").read_text())
    one, both = pages
    first, *sections = both.split("\n## ")
    rows = both.split("\n\n")[2].replace("\N{NO-BREAK SPACE}", " ").splitlines()
    assert rows[2:] == [
        "| Backbone not noted |  | 99 % (75), 1 seed |",
        "| Pretrained encoder, LoRA | 99 to 100 % (90), 2 seeds |  |",
    ]
    assert rows[2].replace("|  ", "", 1) in one.replace("\N{NO-BREAK SPACE}", " ")
    table = one[one.index("| claim |") : one.index("\n## ")]
    assert table.strip() in first
    assert "ncoder" not in table
    said = " ".join(both.split("\n\n")[1].split())
    assert said == (
        "**Right with a dead band (plain) at 2.04M to 2.06M tokens, worst to best: Detect & "
        "Memorize 99 to 100 % (90 %), Reasoning 99 % (75 %).**"
    )
    assert [part.splitlines()[0] for part in sections] == ["Reasoning", "Pretrained encoder"]
    encoder = " ".join(sections[1].split())
    assert "minilm, frozen, with LoRA of rank 16. Of the 512 positions of a segment 499" in encoder
    assert "### Detect & Memorize" in encoder
    assert "| seed 1, dead band 0.4 (borrowed) | seed 1, plain |" in encoder


def test_the_page(rmtscale: Command, tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_text("".join(f"{record.to_line()}\n" for record in pair(0.99, 0.75)))
    given = ["--records", str(file), "--out", str(tmp_path / "out")]
    done = rmtscale("reproduce", "dead-band", *given)
    assert done.code == 0, done.err
    page = (tmp_path / "out" / "README.md").read_text()
    first = page.split("\n\n")[1]
    assert first == (
        "**Right with a dead band (plain) at 2.06M tokens, worst to best: Reasoning 99 % (75 %).**"
    )
    assert "is right" not in page
    assert "bold here" not in page, "where all is drawn there is nothing to tell apart"
    assert "This is a variant and not the paper's RMT" in page
    with (tmp_path / "out" / "dead-band.csv").open() as opened:
        bands = sorted(row["dead_band"] for row in csv.DictReader(opened))
    assert bands == ["0", "0", "0.3", "0.3"]
    none = rmtscale("reproduce", "dead-band", "--records", str(tmp_path / "no"), "--force")
    assert (none.code, "expected a file that 'rmtscale evaluate' wrote" in none.err) == (2, True)


def test_the_page_says_how_widths_were_chosen(rmtscale: Command, tmp_path: Path) -> None:
    records = [*pair(0.99, 0.75), *pair(1, 1, "memorize", seed=1)]
    file = tmp_path / "records.jsonl"
    file.write_text("".join(f"{record.to_line()}\n" for record in records))

    def page(*widths: WidthRecord) -> str:
        beside = tmp_path / "widths.jsonl"
        beside.write_text("".join(f"{one.to_line()}\n" for one in widths))
        given = ["--records", str(file), "--out", str(tmp_path / "out"), "--force"]
        assert rmtscale("reproduce", "dead-band", *given).code == 0
        if widths:
            assert (tmp_path / "out" / "widths.jsonl").read_text() == beside.read_text()
        return " ".join((tmp_path / "out" / "README.md").read_text().split())

    reasoning, memorize = (
        next(one.point.weights for one in records if one.point.task == task)
        for task in ("reasoning", "memorize")
    )
    assert reasoning != memorize
    none = page()
    assert "seed 0, dead band 0.3 (borrowed)" in none
    assert "Of a borrowed one no record says so." in none
    one = page(measured(0.3, weights=reasoning), measured(0.4, weights=memorize))
    assert "seed 0, dead band 0.3 (by changes)" in one
    assert "seed 1, dead band 0.3 (borrowed)" in one
    both = [reading(width, right, weights=memorize) for width, right in ((0, "00"), (0.3, "11"))]
    all_of_them = page(measured(0.3, weights=reasoning), *both)
    assert "seed 1, dead band 0.3 (by accuracy)" in all_of_them
    changes = page(*(measured(0.3, weights=each) for each in (reasoning, memorize)))
    assert "training text alone, by changes of the memory." in changes
    assert "borrowed" not in changes


def test_figure_5_is_of_the_papers_rmt_alone(rmtscale: Command, tmp_path: Path) -> None:
    """With records of a dead band in its file it is what it was without them."""
    committed = (REPORTS / "figure-5" / "records.jsonl").read_text()
    held = (REPORTS / "dead-band" / "records.jsonl").read_text().splitlines()
    banded = [line for line in held if "dead_band" in json.loads(line)["point"]]
    assert len(banded) == 15 * 4 + 9 + 10 + 25 + 30  # but the first: Reasoning on the encoder
    (tmp_path / "records.jsonl").write_text(committed + "".join(f"{line}\n" for line in banded))
    given = ["--records", str(tmp_path / "records.jsonl"), "--out", str(tmp_path / "out")]
    assert rmtscale("reproduce", "figure-5", *given).code == 1
    for name in ("README.md", "figure-5.csv", "records.jsonl"):
        made = (tmp_path / "out" / name).read_text()
        assert made == (REPORTS / "figure-5" / name).read_text()
