"""A figure: its sources, what making it gives, and its folder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmtscale.files import remove_leavings, require_writable, write_all
from rmtscale.locks import sole_writer_in
from rmtscale.study.training.layout import CACHE, SETTINGS, remove_leavings_of

if TYPE_CHECKING:
    from rmtscale.records.store import Store
    from rmtscale.report.claims import Claim
    from rmtscale.study.figures.training_runs import TrainingSetup

REPORTS = Path("reports")
_PACKAGE = "rmtscale.study.figures"
_PAGE = "README.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Names the sources of one kind of figure; commands offer and refuse options by it."""

    title: str
    """The sources in a few words."""
    store: type[Store[Any]] | None = None
    """Reads a file of the records it can be made from; None: not made from a file of records."""
    trainings: str | None = None
    """Name of the folder in ``build`` that its trainings share; None: it trains nothing."""
    background: bool = False
    """Its trainings, and readings of their checkpoints, set facts into noise."""
    texts: bool = False
    """Its trainings read texts, which are given."""
    equal_steps: bool = False
    """Its trainings are compared at the same number of steps, so that ends may not be moved."""
    checkpoint: bool = False
    """It can be made from checkpoints in the place of a training, pretrained weights given with
    those that stand on them."""
    pretrained: bool = False
    """Its trainings begin with pretrained weights, which are given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Holds the sources of one making of a figure."""

    records: Path | None = None
    """A file of records; nothing is trained or measured then."""
    training: TrainingSetup | None = None
    """Where and how to train what is not trained yet."""
    quick: bool = False
    """The toy size."""
    seeds: tuple[int, ...] | None = None
    """Seeds to train with; None is what the figure shows."""
    checkpoints: tuple[Path, ...] = ()
    """Checkpoints in the place of a training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureReport:
    """A figure, made: its claims, checked, and the contents of its folder."""

    claims: list[Claim]
    page: str
    """The README of the folder."""
    files: Mapping[str, bytes | str | None] = field(default_factory=dict)
    """Contents by path in the folder; None is a file that an earlier run may have left."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure; all that belongs to it lies in one package, named after it."""

    name: str
    """The name that ``rmtscale reproduce`` takes, such as ``figure-2``."""
    title: str
    """Heading of its page."""
    kind: Kind

    @property
    def package(self) -> str:
        """The package that holds its claims, drawing and page."""
        return f"{_PACKAGE}.{self.name.replace('-', '_')}"

    def committed(self) -> Sources | None:
        """Returns what its committed report is made from; None where that takes a training."""
        if self.kind.trainings is None:
            own = getattr(import_module(f"{self.package}.page"), "RECORDS", None)
            return Sources() if own is None or own.is_file() else None
        if self.kind.store is None:
            return None
        records = REPORTS / self.name / "records.jsonl"
        return Sources(records=records) if records.is_file() else None

    def make(self, folder: Path, sources: Sources, *, force: bool = False) -> list[Claim]:
        """Makes the figure and writes page, pictures and numbers into ``folder``.

        Returns:
            The claims of the paper, checked.

        Raises:
            BadInput: a file is there already and ``force`` is not set, a file cannot be written,
                another process trains in the same folder, or the sources are not what the figure
                is made from.
            CheckFailed: the time was up before all trainings were done.
        """
        require_writable([folder / _PAGE], force=force)
        page = import_module(f"{self.package}.page")
        with ExitStack() as held:
            if sources.training is not None:
                runs = sources.training.folder
                held.enter_context(sole_writer_in(runs, f"folder {str(runs)!r}"))
                remove_leavings(runs, (CACHE, "*.jsonl"))
                for settings in runs.glob(f"*/{SETTINGS}"):
                    remove_leavings_of(settings.parent)
            report: FigureReport = page.make(self, sources)
        write_all(folder, {**report.files, _PAGE: report.page}, force=force)
        return report.claims
