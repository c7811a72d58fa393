"""The environment of a measurement: versions, processor, GPU; no host names and no paths."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from rmtscale.processes import ask

_ROOT = Path(__file__).parents[2]
_GIT_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuState:
    """Clocks and limits at one moment; read, never set. None where the driver does not say."""

    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    temperature_celsius: int | None = None
    power_watts: float | None = None
    throttle_reasons: tuple[str, ...] | None = None
    """The reasons that hold the clocks down; empty: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The machine and the versions."""

    platform: str
    python: str
    processor: str
    processor_threads: int
    """Hardware threads this process may use."""
    torch_threads: int | None = None
    """Threads torch computes with on the CPU."""
    packages: dict[str, str] = field(default_factory=dict)
    """Versions of rmtscale, torch and transformers, those that are installed."""
    commit: str | None = None
    """rmtscale's commit; ``-dirty`` where files differ from it; None outside a git checkout."""
    cuda: str | None = None
    driver: str | None = None
    gpu: str | None = None
    gpu_memory_bytes: int | None = None
    before: GpuState | None = None
    """Before the timed steps."""
    after: GpuState | None = None
    during: GpuState | None = None
    """Read right after a timed step in the middle, before the device has cooled down."""


def host_environment() -> Environment:
    """Describes the host, as the standard library knows it; a GPU is asked elsewhere."""
    return Environment(
        platform=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        processor=_processor(),
        processor_threads=_usable_threads(),
        packages=dict(_packages()),
        commit=_commit(),
    )


@cache
def _packages() -> tuple[tuple[str, str], ...]:
    """Versions of what is installed; looked up once, which takes 10 ms."""
    from importlib import metadata

    found = []
    for name in ("rmtscale", "torch", "transformers"):
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return tuple(found)


def _usable_threads() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@cache
def _commit() -> str | None:
    """Only of rmtscale's own checkout: an installed package may lie in somebody else's."""
    if not (_ROOT / ".git").exists():
        return None
    git = ("git", "-C", str(_ROOT))
    head = ask([*git, "rev-parse", "HEAD"], _GIT_SECONDS)
    changed = ask([*git, "status", "--porcelain", "--untracked-files=no"], _GIT_SECONDS)
    if head is None or changed is None:
        return None
    return f"{head.strip()}-dirty" if changed.strip() else head.strip()
