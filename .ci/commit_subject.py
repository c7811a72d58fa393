"""Holds the rule for commit messages: ``python .ci/commit_subject.py FILE``, as a commit-msg hook.

The subject is ``Area: imperative``, at most 72 characters, with no full stop; a body stands below
an empty line. The exit code is 1, with a line for each breach, or 0. What git itself writes
(merges, reverts, fixups) passes. Without a FILE the message is read from standard input.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

LONGEST = 72
_BY_GIT = ("Merge ", "Revert ", "fixup! ", "squash! ", "amend! ")
_SUBJECT = re.compile(r"[A-Z][\w ,/.-]*: (?P<verb>[A-Za-z][\w-]*)( .*)?")
_NO_IMPERATIVE = re.compile(r"\w+([^e]ed|ing|[^su']s)")
"""Endings of added, adding, adds; of embed, bring and pass too, which are let through below."""
_IMPERATIVES = {"alias", "bias", "bring", "embed", "shed", "string"}


def breaches(message: str) -> list[str]:
    """What is wrong with a commit message, a sentence each; nothing if it keeps the rule."""
    lines = [line.rstrip() for line in message.splitlines() if not line.startswith("#")]
    while lines and not lines[0]:
        del lines[0]
    subject = lines[0] if lines else ""
    if subject.startswith(_BY_GIT):
        return []
    wrong = []
    if len(subject) > LONGEST:
        wrong.append(f"the subject has {len(subject)} characters, expected at most {LONGEST}")
    match = _SUBJECT.fullmatch(subject)
    if match is None:
        wrong.append(
            f"subject {subject!r}: expected 'Area: imperative', such as 'Docs: add a page'"
        )
    else:
        verb = match["verb"].lower()
        if _NO_IMPERATIVE.fullmatch(verb) and verb not in _IMPERATIVES:
            wrong.append(f"{match['verb']!r} after the area: expected an imperative, such as 'add'")
    if subject.endswith("."):
        wrong.append("the subject ends with a full stop, expected none")
    if len(lines) > 1 and lines[1]:
        wrong.append("expected an empty line between subject and body")
    return wrong


def main(arguments: list[str]) -> int:
    """Checks the message in a file, or on standard input; returns the exit code."""
    if len(arguments) > 1:
        sys.stderr.write("usage: commit_subject.py [FILE]\n")
        return 2
    wrong = breaches(Path(arguments[0]).read_text("utf-8") if arguments else sys.stdin.read())
    for sentence in wrong:
        sys.stderr.write(f"commit message: {sentence}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
