"""A trained RMT as a folder: safetensors in half precision, config.json, and task.json.

``task.json`` holds what is needed to evaluate it: task, settings, vocabulary or tokenizer, how far
it was trained. Everything in it is data; nothing is evaluated, no path is built from it.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rmtscale.errors import BadInput
from rmtscale.files import replaced_folder
from rmtscale.limits import MOST_TOKENIZER_BYTES
from rmtscale.readers import read_json, require_file
from rmtscale.records.environment import Environment, host_environment
from rmtscale.rmt.base import RMTPreTrainedModel
from rmtscale.rmt.sharding import whole_state
from rmtscale.study.records.old_names import renamed
from rmtscale.study.training.layout import BEST, LAST, SETTINGS, TASK_FILE, TRAINED_PART
from rmtscale.study.training.lora import frozen_digest, trained_part
from rmtscale.study.training.settings import LoopSettings

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Describes how far a checkpoint was trained."""

    step: int
    stage: str
    segments: int
    """Segments with a gradient in that stage."""
    ema: bool = True
    """Whether these are the EMA weights; False is those after the last step."""
    validation: dict[str, float] | None = None
    """Accuracy (language: loss in nats) by number of segments, on validation text."""
    tokens: int = 0
    """Text tokens read."""
    flops: int | None = None
    """FLOPs spent, by the estimator (``matmul``); None where it was not asked."""
    seconds: float = 0.0
    """Time spent in steps."""
    peak_allocated_bytes: int | None = None
    """Peak that torch allocated on the GPU, in the last run of the training."""
    parameters: int = 0
    trainable_parameters: int = 0
    steps_before: int = 0
    """Steps that a memory task's training began with, of ``init_from`` and those before it."""
    learned_before: tuple[dict[str, object], ...] = ()
    """Settings of a memory task's trainings that made these steps, away from their defaults, as far
    as they change what is learned."""
    weights_before: str = ""
    """Digest of the weights that a memory task's training began with; empty where it began with
    none, and in a checkpoint that was written before it was noted."""

    @property
    def all_steps(self) -> int:
        """Steps that the weights have seen, in this training and those it began with."""
        return self.steps_before + self.step


def _environment(device: torch.device) -> Environment:
    """Describes where a checkpoint was trained."""
    here = host_environment()
    if device.type != "cuda":
        return here
    return replace(here, cuda=torch.version.cuda, gpu=torch.cuda.get_device_name(device))


def write_checkpoint(
    folder: Path, rmt: RMTPreTrainedModel, meaning: Mapping[str, Any], *, base: str | None = None
) -> None:
    """Weights in half precision and ``task.json``, the folder whole or not at all.

    Of weights that are cut every process has to ask for it, and the first one writes.

    Args:
        folder: of the checkpoint.
        rmt: what is written.
        meaning: what goes into ``task.json``.
        base: beside a frozen backbone, its name. What was trained is all that is kept then, and
            ``task.json`` says what it stands on.

    Raises:
        BadInput: it cannot be written.
    """
    state, writes = whole_state(rmt)
    if writes is False:
        return
    whole = {
        "format_version": FORMAT_VERSION,
        **meaning,
        "environment": asdict(_environment(rmt.device)),
    }
    if base is not None:
        whole["base"] = {"name": source_name(base), "digest": frozen_digest(state)}
    half, given = rmt, None
    if writes is None:
        # A copy of the module, not of its tensors: what is tied has to be saved once.
        half = copy.deepcopy(rmt).to("cpu", torch.float16)
        state = half.state_dict()
    else:
        state = {name: x.half() if x.is_floating_point() else x for name, x in state.items()}
        given = state
    inner = half.config.backbone_config
    inner._name_or_path = source_name(inner._name_or_path)
    try:
        with replaced_folder(folder) as part, quiet():
            if base is None:
                half.save_pretrained(part, state_dict=given)
                if given is not None:
                    half.config.dtype = torch.float16
                    half.config.save_pretrained(part)
            else:
                half.config.save_pretrained(part)
                kept = {name: x.contiguous() for name, x in trained_part(state).items()}
                save_file(kept, part / TRAINED_PART, metadata={"format": "pt"})
            meaning_text = json.dumps(whole, indent=1, sort_keys=True) + "\n"
            (part / TASK_FILE).write_text(meaning_text, encoding="utf-8")
            for file in part.iterdir():
                file.chmod(0o644)  # libraries make them for their owner only
    except SafetensorError as error:
        raise BadInput(f"output {str(folder)!r}: cannot be written ({error})") from error


def require_trained_as(rmt: RMTPreTrainedModel, settings: LoopSettings, folder: Path) -> None:
    """Refuses a config that cuts segments or keeps memory in another way than the training did.

    Raises:
        BadInput: another segment size or number of memory or sink tokens than ``task.json`` says.
    """
    for name, trained in (
        ("segment_size", settings.segment_size),
        ("memory_tokens", settings.memory_tokens),
        ("sink_tokens", settings.sink_tokens),
    ):
        found = getattr(rmt.config, name)
        if found != trained:
            raise BadInput(
                f"checkpoint {str(folder)!r}: config.json has {name} {found}, expected {trained}, "
                "with which it was trained"
            )


def _when_written(folder: Path) -> str:
    """Says when a training will write a checkpoint that is not there yet."""
    settings = folder.parent / SETTINGS
    if folder.name not in (BEST, LAST) or not settings.is_file():
        return ""
    steps = read_json(settings, f"settings {str(settings)!r}").get("validate_every")
    return f"; the training in {str(folder.parent)!r} writes its first after {steps} steps"


OF_BACKBONE = "backbone"
"""Kind of a vocabulary: the tokenizer in the folder of the pretrained weights."""
Settings = TypeVar("Settings", bound=LoopSettings)


def base_of(
    folder: Path, meaning: Mapping[str, Any], backbone: str | None
) -> dict[str, Any] | None:
    """Returns what a checkpoint of the trained part stands on; None where it has all weights.

    Raises:
        BadInput: ``task.json`` does not say it as an object, or no backbone was given for it.
    """
    base = meaning.get("base")
    if base is not None and not isinstance(base, dict):
        raise BadInput(f"checkpoint {str(folder)!r}: {TASK_FILE}: base, expected an object")
    if base is not None and backbone is None:
        raise BadInput(
            f"checkpoint {str(folder)!r} has only what was trained: expected --backbone with the "
            f"weights of {base.get('name')!r} that it stands on"
        )
    return base


def load_trained_part(
    folder: Path, rmt: RMTPreTrainedModel, base: Mapping[str, Any], backbone: str
) -> None:
    """Puts what was trained back into an RMT built on the same pretrained backbone.

    Raises:
        BadInput: the backbone has other weights, or the file is damaged or of another shape.
    """
    digest = frozen_digest(rmt.state_dict())
    if digest != base.get("digest"):
        raise BadInput(
            f"backbone {backbone!r} has weights of digest {digest}: expected "
            f"{base.get('digest')}, those of {base.get('name')!r} that checkpoint "
            f"{str(folder)!r} stands on"
        )
    require_file(folder / TRAINED_PART, f"checkpoint {str(folder)!r}: {TRAINED_PART}")
    try:
        kept = load_file(folder / TRAINED_PART)
    except (OSError, SafetensorError) as error:
        raise BadInput(f"checkpoint {str(folder)!r}: {TRAINED_PART}: {error}") from error
    expected = {name: x.shape for name, x in trained_part(rmt.state_dict()).items()}
    if {name: x.shape for name, x in kept.items()} != expected:
        raise BadInput(
            f"checkpoint {str(folder)!r}: {TRAINED_PART} has other weights, expected the "
            f"{len(expected)} that its settings train"
        )
    for name, x in kept.items():
        if x.is_floating_point() and not bool(x.isfinite().all()):
            raise BadInput(
                f"checkpoint {str(folder)!r}: {name} has weights that are no finite numbers"
            )
    rmt.load_state_dict(kept, strict=False)


def weights_digest(folder: Path) -> str:
    """Computes the first 16 digits of the SHA-256 of a checkpoint's weights.

    Records name the weights by it: it is the same on every machine.
    """
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def source_name(source: str) -> str:
    """Takes the folder off the name of a text: it is of no use on another machine."""
    return source if source.startswith("hf:") else Path(source).name


_FOLDERS = ("background", "backbone", "init_from", "text", "tokenizer")


def portable(settings: Settings) -> Settings:
    """Takes the folders of this machine out of settings: names are enough to know what was used."""
    names: dict[str, Any] = {}
    for field in _FOLDERS:
        source = getattr(settings, field, None)
        if isinstance(source, str):
            names[field] = source_name(source)
    return replace(settings, **names)


def read_meaning(folder: Path) -> dict[str, Any]:
    """``task.json`` of a checkpoint, its version checked.

    Raises:
        BadInput: no such file, no JSON, or another version.
    """
    path = folder / TASK_FILE
    if not path.exists():
        raise BadInput(
            f"checkpoint {str(folder)!r}: expected a folder with {TASK_FILE}, as 'rmtscale train' "
            f"writes it{_when_written(folder)}"
        )
    named = f"checkpoint {str(folder)!r}: {TASK_FILE}"
    meaning = renamed(read_json(path, named, MOST_TOKENIZER_BYTES))
    version = meaning.get("format_version") if isinstance(meaning, Mapping) else None
    if version != FORMAT_VERSION:
        raise BadInput(
            f"checkpoint {str(folder)!r}: {TASK_FILE} of version {version!r}, expected "
            f"{FORMAT_VERSION}"
        )
    return dict(meaning)


@contextmanager
def quiet() -> Iterator[None]:
    """Hides Transformers' own progress bars, which would run into ours."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
