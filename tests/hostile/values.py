"""Bad values: texts for an option, values for a field, and content for a whole file.

None of them is what any option or field is meant for; a few happen to be right somewhere. Names of
files in braces stand for what ``make_places`` puts there.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

TEXTS: tuple[str, ...] = (
    # nothing, or lists of nothing
    *("", " ", ",", ",,", "[]", "{}", "null", "None", "true"),
    # numbers that are none, too large, too small, or written oddly
    *("0", "-1", "-0", "0.5", "1e30", "1e400", "-1e400", "1e-400", "nan", "NaN", "inf", "-inf"),
    *("9" * 30, "9" * 5000, "0." + "0" * 5000 + "1", "4294967296", "9223372036854775808"),
    *("-9223372036854775809", "999999999999T", "0x10", "1_000", "1e", "\u0663", "\u00b2", "\u00bd"),
    *("1,2,,3", "3,-1", "..", "1..", "..1", "8..1", "1..999999999999T", "1,99999999T"),
    # text of another language, or too much of it
    *("[1", '{"a":1}', "'", '"', "`", "\\", "$(id)", "; ls", "%s%n%d", "{0}", "{x}", "<b>&"),
    *("]]>", "=1+1", "@x", "-", "--", "a=", "=a", "a=b=c", "a" * 300, "a" * 100_000, "[" * 5000),
    # places that are no files
    *("/", ".", "/dev/null", "/dev/full", "/dev/zero", "/nonexistent/x", "~", "a/b/c"),
    *("{fifo}", "{loop}", "{folder}", "{locked}", "{text}", "{huge}", "{long}"),
    # characters that a terminal, a page or a line does not take
    *("a\nb", "a\rb", "a\tb", "\x1b[31mred", "\x1b]0;t\x07", "\x07", "a\x08b", "\x7f", "\x9b31m"),
    *("\x85", "a\u202eb", "\u2066a", "a\u200fb", "\u200b", "\ufeff", "\u2028", "\u00e9", "\u540d"),
    *("\U0001f600", "\udcff", "a\udcffb"),
    # words that mean something elsewhere
    *("auto", "all", "none", "default", "full,full", "gpt2", "bert-base-cased", "h200", "python"),
    "hf:",
)
"""Given to every option of every command, as ``--option=TEXT``."""

FIELDS: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 1.5, -0.5, 10**9, 3 * 10**8, 4 * 10**9, 2**63, -(2**70), 10**30),
    *(10**4200, 1e300, float("nan"), float("inf"), float("-inf")),
    *("", " ", "x", "1", "a" * 2000, "\x1b[31m", "\u202e", "\ud800", "\x00", "../../etc/passwd"),
    *([], {}, [[]], [None], [-1], ["x", 1], {"": 0}, {"model_type": "gpt2"}, [1] * 1000, [[1] * 9]),
)
"""Put in the place of every value of every object."""


_MOST_FIELDS = 60
"""A vocabulary has more entries than kinds of entries."""


def make_places(folder: Path) -> dict[str, str]:
    """Puts what is no plain file into a folder, and returns where it is."""
    os.mkfifo(folder / "fifo")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "folder").mkdir()
    (folder / "locked").mkdir()
    (folder / "locked").chmod(0)
    (folder / "text").write_text("not what you think\n", encoding="utf-8")
    with (folder / "huge").open("wb") as huge:
        huge.truncate(2**36)
    names = ("fifo", "loop", "folder", "locked", "text", "huge")
    return {name: str(folder / name) for name in names} | {"long": str(folder / ("n" * 300))}


def contents(whole: bytes) -> dict[str, bytes]:
    """Returns bad contents of a file, by name; some of them are damage to ``whole``."""
    deep = 100_000
    found = {
        "empty": b"",
        "space": b" \n\t ",
        "newlines": b"\n" * 1000,
        "null": b"null",
        "number": b"1",
        "text": b'"x"',
        "list": b"[]",
        "object": b"{}",
        "list of objects": b"[{}]",
        "words": b"not what you think\n",
        "brackets": b"[" * deep,
        "closed brackets": b"[" * deep + b"]" * deep,
        "objects": b'{"a":' * deep,
        "closed objects": b'{"a":' * deep + b"1" + b"}" * deep,
        "toml brackets": b"a = " + b"[" * deep,
        "digits": b'{"a": ' + b"9" * 5000 + b"}",
        "toml digits": b"a = " + b"9" * 5000,
        "exponent": b'{"a": 1e999999}',
        "nan": b'{"a": NaN}',
        "bom": b"\xef\xbb\xbf" + whole,
        "utf-16": whole.decode("utf-8", "replace").encode("utf-16"),
        "latin-1": b'{"a": "\xe9"}',
        "zeros": b"\x00" * 1000,
        "bytes": bytes(range(256)) * 8,
        "gzip": b"\x1f\x8b\x08\x00" + b"\x00" * 20,
        "gzip cut": b"\x1f\x8b",
        "zip": b"PK\x03\x04" + b"\x00" * 30,
        "pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.",
        "safetensors of 2**63": b"\xff" * 8 + b"{}",
        "safetensors of nothing": b"\x02" + b"\x00" * 7 + b"{}",
        "safetensors cut": b"\x40" + b"\x00" * 7 + b'{"a":',
        "half a character": whole[: len(whole) // 2] + b"\xc3",
        "escape": b'{"\x1b[31m": 1}',
        "lone surrogate": b'{"a": "\\ud800"}',
        "twice": whole + whole,
        "without its start": whole[1:],
        "carriage returns": whole.replace(b"\n", b"\r"),
        "long line": b'{"a": "' + b"x" * 2_000_000 + b'"}',
    }
    for share in (1, 5, 25, 50, 75, 95, 99):
        found[f"cut at {share} %"] = whole[: len(whole) * share // 100]
    for place in range(0, len(whole), max(1, len(whole) // 16)):
        for byte in (0x00, 0xFF):
            changed = bytearray(whole)
            changed[place] ^= byte or 0x20
            found[f"byte {place} xor {byte or 0x20}"] = bytes(changed)
    return found


def with_bad_fields(value: Any, depth: int = 0) -> Any:
    """Yields what was done to an object, and the object: each value replaced, left out, doubled."""
    if isinstance(value, dict) and depth < 8:
        for key, inner in list(value.items())[:_MOST_FIELDS]:
            rest = {name: old for name, old in value.items() if name != key}
            yield f"{key}: left out", rest
            yield f"{key}: unknown name", {**rest, f"{key}\x1b[31m": inner}
            for bad in FIELDS:
                yield f"{key}: {_short(bad)}", {**value, key: bad}
            for what, changed in with_bad_fields(inner, depth + 1):
                yield f"{key}.{what}", {**value, key: changed}
    elif isinstance(value, list) and value and depth < 8:
        yield "doubled", [*value, *value]
        for bad in FIELDS:
            yield f"[0]: {_short(bad)}", [bad, *value[1:]]
        for what, changed in with_bad_fields(value[0], depth + 1):
            yield f"[0].{what}", [changed, *value[1:]]


def json_of(value: Any) -> bytes:
    """Writes JSON, also of what JSON cannot hold: an integer of any length, half a character."""
    import sys

    digits = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(value).encode("utf-8")
    finally:
        sys.set_int_max_str_digits(digits)


def _short(value: Any) -> str:
    if isinstance(value, int) and abs(value) > 10**40:
        return "a long integer"
    return repr(value)[:30]
