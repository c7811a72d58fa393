"""``evaluate --probe`` says first whether margins hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from rmtscale.cli.evaluate_probe import told, write_probe
from rmtscale.errors import BadInput
from rmtscale.records.mapping import Misfit, from_mapping, to_mapping
from rmtscale.study.evaluation.probe import EarlyAnswers
from rmtscale.study.records.evaluation import EvaluationStore
from rmtscale.study.records.probe import Held, Margins, Probe, Share
from rmtscale.study.tasks.batches import Batch
from tests.cli.test_attention import write_story_checkpoint
from tests.command_line import Command
from tests.synthetic.evaluations import evaluation
from tests.tiny_training import tiny_settings, write_background


def probed(held: Held | None) -> Probe:
    """Ten samples that nobody read."""
    stops = (1, 2, 4, 8, 127)
    share = Share(label="64 to 127", correct=9, samples=10, low=0.5958, high=0.9821)
    return Probe(
        segments=128,
        samples=10,
        by_depth=(share,),
        by_place=(replace(share, label="quarter 1"),),
        after_segments=tuple(replace(share, label=str(stop)) for stop in stops),
        moved_share={str(stop): 1 / stop for stop in stops},
        broke_at=(None,) * 9 + (64,),
        margins=tuple(
            Margins(
                segments=stop,
                samples=10,
                quantiles=(-0.04, 1.0, 123.45),
                state_rms=0.5,
                change_rms=0.25 / stop,
                settled_samples=10 * (stop == 127),
                moved_rms=0.3 if stop == 127 else None,
            )
            for stop in stops
        ),
        held=held,
    )


HELD = Held(
    samples=9,
    wrong_samples=1,
    settled_quantiles=(5.9, 6.0, 7.3),
    end_quantiles=(-0.04, 1.0, 7.21),
    kept_samples=6,
    drifted_samples=2,
)
SHARE = to_mapping(Share(label="quarter 1", correct=9, samples=10, low=0.5958, high=0.9821))
SETTLED = "what they were once the memory had settled"


def test_margins_that_fall() -> None:
    assert told(probed(HELD)) == (
        "Margins fall by segment 127: 3 of 9 (95 %: 12.06 to 64.58) are below half of "
        f"{SETTLED}: lowest 5.9 -> 0.0, median 7.3 -> 7.2. 2 of them drifted: the memory moved "
        "farther than any two segments could have moved it."
    )


def test_margins_that_one_segment_may_have_taken() -> None:
    assert told(probed(replace(HELD, drifted_samples=0))).endswith(
        "median 7.3 -> 7.2. Whether they drifted is not told: two segments could have moved the "
        "memory so far."
    )


def test_margins_that_hold() -> None:
    assert told(probed(replace(HELD, kept_samples=9, drifted_samples=0))) == (
        "Margins hold to segment 127: all 9 (95 %: 70.09 to 100.00) are at least half of "
        f"{SETTLED}: lowest 5.9 -> 0.0, median 7.3 -> 7.2."
    )


def test_nothing_to_hold() -> None:
    none = Held(
        samples=0,
        wrong_samples=10,
        settled_quantiles=(),
        end_quantiles=(),
        kept_samples=0,
        drifted_samples=0,
    )
    assert told(probed(none)) == (
        "None of 10 answers was right once the memory had settled: no margin can be held."
    )
    assert told(probed(None)).startswith("No sample had settled before the last question: more")


def test_the_answer_comes_first_and_lines_are_short(capsys: pytest.CaptureFixture[str]) -> None:
    write_probe(probed(HELD), "table")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Margins fall by segment 127: 3 of 9")
    assert max(len(line.rstrip()) for line in lines) <= 80
    shown = [" ".join(line.split()) for line in lines]
    assert "127 90.00 % 59.58 to 98.21 10 0.0 1.0 123.5" in shown
    assert "127 0.8 % 0.500 0.002 0.300" in shown
    assert "8 13 % 0.500 0.031" in shown
    assert lines[-1] == "1 of 10 answers were lost, half of them by segment 64"


def test_a_record_keeps_it_and_others_stay_their_lines(tmp_path: Path) -> None:
    plain = evaluation(128, 0.9)
    assert "probe" not in plain.to_line()
    whole = replace(plain, probe=probed(HELD))
    none = replace(plain, probe=probed(None))
    path = tmp_path / "records.jsonl"
    path.write_text("".join(f"{record.to_line()}\n" for record in (plain, whole, none)))
    reading = EvaluationStore(path).read()
    assert reading.records == (plain, whole, none)
    assert list(reading.latest().values()) == [none]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"margins": []}, "margins: expected them after as many segments as the shares"),
        ({"margins": [], "after_segments": []}, "held: expected margins too"),
        ({"by_place": [{**SHARE, "samples": 0}]}, "by_place.: share: expected one sample"),
        ({"by_place": [{**SHARE, "correct": 11}]}, "by_place.: share: expected one sample"),
        ({"held": {**to_mapping(HELD), "kept_samples": 8}}, "expected 9 samples or fewer"),
        ({"held": {**to_mapping(HELD), "end_quantiles": []}}, "of 9 samples: expected 3"),
        ({"held": {**to_mapping(HELD), "samples": 0}}, "of 0 samples: expected 0"),
        ({"held": {**to_mapping(HELD), "samples": -1}}, "held.samples: -1, expected 0 or more"),
    ],
)
def test_what_no_probe_finds_is_refused(changed: dict[str, Any], why: str) -> None:
    mapping = to_mapping(probed(HELD))
    assert from_mapping(Probe, mapping, measured=True) == probed(HELD)
    with pytest.raises((Misfit, BadInput), match=why):
        from_mapping(Probe, mapping | changed, measured=True)
    mapping["margins"][0]["quantiles"] = [1.0, 2.0]
    with pytest.raises(Misfit, match="quantiles: expected 3 margins"):
        from_mapping(Probe, mapping, measured=True)


@pytest.mark.parametrize("known", [False, True])
def test_the_file_is_held_while_it_is_read(
    rmtscale: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """Another process is refused at once, and not this one when it has read."""
    background = write_background(tmp_path / "text")
    folder, out = tmp_path / "checkpoint", tmp_path / "records.jsonl"
    write_story_checkpoint(folder, tiny_settings(background))
    words = ["evaluate", str(folder), "--background", str(background), "--device", "cpu"]
    words += ["--segments", "2", "--samples", "2", "--out", str(out)]
    if known:
        assert rmtscale(*words).code == 0
    held = []
    ask = EarlyAnswers.ask

    def noted(self: EarlyAnswers, batch: Batch) -> tuple[Tensor, ...]:
        with pytest.raises(BadInput, match=r"records .* in use"), EvaluationStore(out).writing():
            held.append("by nobody")
        held.append("by this one")
        return ask(self, batch)

    monkeypatch.setattr(EarlyAnswers, "ask", noted)
    assert rmtscale(*words, "--probe").code == 0
    assert held == ["by this one"]
    with EvaluationStore(out).writing():
        probes = [record.probe is not None for record in EvaluationStore(out).read().records]
    assert probes == [False, True] if known else [True]


@pytest.mark.parametrize("backbone", ["gpt-neox-tiny", "bert-tiny"])
def test_with_a_dead_band_and_stories_of_babi(
    rmtscale: Command, tmp_path: Path, backbone: str
) -> None:
    background = write_background(tmp_path / "text")
    folder = tmp_path / "checkpoint"
    chosen = {"task": "babilong", "backbone": backbone, "segment_size": 64}
    if backbone == "bert-tiny":
        chosen["task"] = "reasoning"
    write_story_checkpoint(folder, tiny_settings(background, **chosen))
    words = ["evaluate", str(folder), "--background", str(background), "--device", "cpu"]
    words += ["--segments", "12", "--samples", "4", "--batch-size", "4", "--probe"]
    done = rmtscale(*words, "--dead-band", "0.5")
    assert done.code == 0, done.err
    (record,) = EvaluationStore(folder / "evaluation.jsonl").read().latest().values()
    assert record.point.dead_band == 0.5
    assert record.probe is not None
    assert record.probe.samples == 4
    assert told(record.probe).split()[0] in done.out
