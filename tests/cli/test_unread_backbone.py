"""A backbone beside a checkpoint that stands on none: told, wherever a checkpoint is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from rmtscale.study.training.layout import TRAINED_PART
from tests.command_line import Command

CHECKPOINTS = Path(__file__).parents[2] / "reports"
WHOLE = {
    "memory": CHECKPOINTS / "figure-5/checkpoints/memorize-0",
    "babilong": CHECKPOINTS / "babilong/checkpoints/qa1",
}


@pytest.mark.parametrize(
    ("command", "checkpoint"),
    [
        (("evaluate", "--segments", "1"), "memory"),
        (("evaluate", "--lengths", "0k"), "babilong"),
        (("dead-band",), "memory"),
        (("dead-band", "--by", "accuracy"), "babilong"),
        (("attention",), "memory"),
    ],
)
def test_a_backbone_that_nothing_would_read_is_refused(
    rmtscale: Command, command: tuple[str, ...], checkpoint: str
) -> None:
    name, *more = command
    folder = WHOLE[checkpoint]
    done = rmtscale(name, str(folder), *more, "--backbone", "minilm")
    assert done.code == 2
    assert " ".join(done.err.split()) == (
        "error: --backbone 'minilm': expected with a checkpoint of its trained part only, "
        f"checkpoint {str(folder)!r} has all its weights"
    )


def test_a_language_checkpoint_of_all_weights_is_no_other(
    rmtscale: Command, tmp_path: Path
) -> None:
    given = ["train", "--task", "language-modeling", "--backbone", "gpt-neox-tiny"]
    given += "--segments 1 --segment-size 32 --memory-tokens 2 --steps 1 --batch-size 1".split()
    given += ["--set", "validation_samples=1", "--device", "cpu", "--out", str(tmp_path / "run")]
    trained = rmtscale(*given)
    assert trained.code == 0, trained.err
    folder = tmp_path / "run/last"
    for name in ("evaluate", "attention"):
        done = rmtscale(name, str(folder), "--segments", "1", "--backbone", "x")
        assert done.code == 2
        assert "--backbone 'x': expected with a checkpoint of its trained part only" in " ".join(
            done.err.split()
        )


def test_a_checkpoint_of_the_trained_part_reads_it(rmtscale: Command) -> None:
    """It says what is not to be had, and not that nothing reads the backbone."""
    folder = CHECKPOINTS / "figure-5/checkpoints/pretrained-encoder-memorize-1"
    assert (folder / TRAINED_PART).is_file()
    for name in ("evaluate", "dead-band", "attention"):
        done = rmtscale(name, str(folder), "--backbone", "no-such-folder")
        assert done.code == 2
        assert "no-such-folder" in done.err
        assert "trained part only" not in " ".join(done.err.split())
