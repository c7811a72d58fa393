"""Builds what is released from the last commit, outside the tree, and tries it. ``make release``.

The source distribution and the wheel are checked as an index of packages does, the wheel is held
against the files of the package, and installed into an environment of its own, where it answers.
What passed lies in ``dist/``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from hashlib import sha256
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
QUESTION = (
    "estimate",
    "-m",
    "llama-3.2-1b",
    "-d",
    "rtx-4090",
    "--tokens",
    "32k",
    "--mode",
    "train",
)
"""What the README begins with; its answer is there."""


def run(*command: str | Path, folder: Path | None = None) -> str:
    """Runs a command and returns what it printed; a failure ends the release."""
    plain = {**os.environ, "COLUMNS": "80"}
    plain.pop("PYTHONPATH", None)
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, env=plain, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def export(folder: Path) -> None:
    """Writes the files of the last commit; what is not committed is not released."""
    changed = run("git", "status", "--porcelain", folder=ROOT)
    if changed:
        raise SystemExit(f"not committed, so not released:\n{changed}")
    packed = folder.with_suffix(".tar")
    run("git", "archive", "--output", packed, "HEAD", folder=ROOT)
    with tarfile.open(packed) as files:
        files.extractall(folder, filter="data")
    packed.unlink()


def package_files(source: Path) -> set[str]:
    """The files that a wheel has to have: modules, and data that the package reads."""
    return {
        path.relative_to(source).as_posix()
        for path in (source / "rmtscale").rglob("*")
        if path.is_file()
    }


def wheel_files(wheel: Path) -> set[str]:
    """The files of the package in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    return {name for name in names if PurePosixPath(name).parts[0] == "rmtscale"}


def shown_answer() -> str:
    """What the README shows below its first command."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = readme.split(f"$ rmtscale {' '.join(QUESTION)}\n")[1]
    return block.split("\n```")[0]


def trimmed(printed: str) -> str:
    return "\n".join(line.rstrip() for line in printed.strip("\n").splitlines())


def main() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source, built = folder / "source", folder / "dist"
        export(source)
        run(sys.executable, "-m", "build", "--outdir", built, source)
        files = sorted(built.iterdir())
        run(sys.executable, "-m", "twine", "check", "--strict", *files)
        (wheel,) = built.glob("*.whl")
        if wheel_files(wheel) != package_files(source):
            raise SystemExit(f"wheel: {sorted(wheel_files(wheel) ^ package_files(source))}")
        run(sys.executable, "-m", "venv", folder / "fresh")
        python = folder / "fresh" / "bin" / "python"
        limits = ("-c", source / "constraints.txt")
        run(python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *limits, wheel)
        command = python.with_name("rmtscale")
        if run(command, "--version", folder=folder).split() != ["rmtscale", version]:
            raise SystemExit(f"rmtscale --version: expected {version}")
        if trimmed(run(command, *QUESTION, folder=folder)) != shown_answer():
            raise SystemExit("the answer is not the one that the README shows")
        said = run(python, source / "tests" / "light_install.py", folder=folder)
        dist = ROOT / "dist"
        shutil.rmtree(dist, ignore_errors=True)
        dist.mkdir()
        for file in files:
            shutil.copyfile(file, dist / file.name)
        sums = [
            f"dist/{file.name}  sha256 {sha256(file.read_bytes()).hexdigest()}" for file in files
        ]
    print("\n".join([said.strip(), *sums]))  # noqa: T201


if __name__ == "__main__":
    main()
