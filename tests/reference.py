"""The reference of commands and of Python, made from help texts, signatures and docstrings.

``make docs`` writes both into ``docs/``. Docstrings are read from the source, so that those below
fields are there too; nothing of the package is run for them but its imports.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from rmtscale.cli.main import COMMANDS
from tests.command_line import parser_of

_WIDTH = 88
"""Characters of the longest signature in one line."""
_SECTION = re.compile(r"^(Args|Returns|Raises):$")


def commands_reference() -> str:
    """Every command: what its help says, its options and their defaults."""
    return "\n".join(["", "", *(line for name in COMMANDS for line in _command(name))])


def _command(name: str) -> Iterator[str]:
    parser = parser_of(name)
    parser.describe_arguments()
    about, examples = _without_examples(inspect.cleandoc(parser.help))
    yield from (f"## `rmtscale {name}`", "", *_paragraphs(about), "")
    for example in examples:
        yield f"Example: `{example}`\n"
    yield from ("| option | default | what it is |", "|---|---|---|")
    for param in sorted(parser.params, key=lambda param: param.param_type_name):
        if not getattr(param, "hidden", False) and "--help" not in param.opts:
            yield f"| {_spelling(param)} | {_default(param)} | {_cell(param.help or '')} |"
    yield ""


def _without_examples(text: str) -> tuple[str, list[str]]:
    """A help text without its examples, and each of those in one line."""
    parts = [" ".join(part.split()) for part in text.split("\n\n")]
    examples = [part.removeprefix("Example: ") for part in parts if part.startswith("Example: ")]
    rest = [part for part in text.split("\n\n") if not part.startswith("Example: ")]
    return "\n\n".join(rest), examples


def _spelling(param: Any) -> str:
    if param.param_type_name == "argument":
        return f"`{param.human_readable_name}`"
    return ", ".join(f"`{name}`" for name in (*param.opts, *param.secondary_opts))


def _default(param: Any) -> str:
    default = param.default() if callable(param.default) else param.default
    if default in (None, "", (), []):
        return "required" if param.required else ""
    if isinstance(default, bool):
        return "on" if default else "off"
    return str(default)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def python_reference(module_name: str) -> str:
    """Every public name of a module: its signature and its docstring, functions first."""
    module = import_module(module_name)
    functions, classes, values = [], [], []
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value):
            classes.append((name, value))
        elif callable(value):
            functions.append((name, value))
        else:
            values.append((name, value))
    lines = ["", ""]
    for name, function in functions:
        lines += _function(name, function)
    for name, kind in classes:
        lines += _class(name, kind)
    for name, value in values:
        known = ", ".join(f"`{key}`" for key in value)
        lines += [f"### `{name}`", "", f"{len(value)} names: {known}.", ""]
    return "\n".join(lines)


def _function(name: str, function: Callable[..., Any], level: str = "###") -> list[str]:
    return [
        f"{level} `{name}`",
        "",
        "```text",
        f"{name}{_signature(function)}",
        "```",
        "",
        *_paragraphs(inspect.getdoc(function) or ""),
        "",
    ]


def _class(name: str, kind: type) -> list[str]:
    lines = [f"### `{name}`", "", *_paragraphs(_own_doc(kind)), ""]
    fields = list(_fields(kind))
    lines += ["Fields:", ""] * bool(fields)
    lines += [f"* `{field}`" + (f": {_one_line(text)}" if text else "") for field, text in fields]
    methods = []
    for method in vars(kind):
        value = getattr(kind, method)
        described = inspect.isroutine(value) and not method.startswith("_") and value.__doc__
        if described:
            methods.append(f"* `{method}{_shortened(value)}`: {_one_line(described)}")
    lines += ["", "Methods:", "", *methods] if methods else []
    return [*lines, ""]


def _own_doc(kind: type) -> str:
    """The docstring of a class, where it has one of its own that somebody wrote."""
    text = inspect.cleandoc(vars(kind).get("__doc__") or "")
    return "" if text.startswith(f"{kind.__name__}(") else text


def _fields(kind: type) -> Iterator[tuple[str, str]]:
    """Annotated fields of a class with their types, and the docstrings below them."""
    (node,) = ast.parse(inspect.cleandoc("\n" + inspect.getsource(kind))).body
    assert isinstance(node, ast.ClassDef)
    for at, statement in enumerate(node.body):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if statement.target.id.startswith("_"):
            continue
        behind = node.body[at + 1] if at + 1 < len(node.body) else None
        text = ""
        if isinstance(behind, ast.Expr) and isinstance(behind.value, ast.Constant):
            text = str(behind.value.value)
        yield f"{statement.target.id}: {ast.unparse(statement.annotation)}", text


def _signature(function: Callable[..., Any]) -> str:
    """A signature as it is written in the source, a parameter a line where it is long."""
    signature = inspect.signature(function)
    shown: list[str] = []
    starred = False
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            starred = True
        elif parameter.kind is parameter.KEYWORD_ONLY and not starred:
            shown.append("*")
            starred = True
        stars = "*" * (parameter.kind is parameter.VAR_POSITIONAL)
        stars += "**" * (parameter.kind is parameter.VAR_KEYWORD)
        known = parameter.annotation is not parameter.empty
        text = f"{stars}{name}" + (f": {_type(parameter.annotation)}" if known else "")
        if parameter.default is not parameter.empty:
            text += f" = {parameter.default!r}" if known else f"={parameter.default!r}"
        shown.append(text)
    returned = signature.return_annotation
    behind = "" if returned is signature.empty else f" -> {_type(returned)}"
    line = f"({', '.join(shown)}){behind}"
    if len(line) < _WIDTH:
        return line
    return "(\n" + "".join(f"    {each},\n" for each in shown) + f"){behind}"


def _type(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "Any")


def _shortened(function: Callable[..., Any]) -> str:
    names = [name for name in inspect.signature(function).parameters if name != "self"]
    return f"({', '.join(names)})"


def _one_line(text: str) -> str:
    first = inspect.cleandoc(text).split("\n\n")[0]
    return _code(" ".join(first.split()))


def _paragraphs(text: str) -> list[str]:
    """A docstring as Markdown: its sections become lists, its examples code."""
    lines: list[str] = []
    inside = ""
    for line in text.splitlines():
        heading = _SECTION.match(line)
        if heading:
            inside = heading[1]
            lines += [f"{inside}:", ""]
        elif inside and re.match(r" {4}\S", line):
            name, colon, about = line.strip().partition(": ")
            lines.append(f"* `{name}`: {_code(about)}" if colon else f"* {_code(line.strip())}")
        elif inside and line.startswith("     "):
            lines.append(f"  {_code(line.strip())}")
        else:
            inside = "" if line else inside
            lines.append(_code(line.rstrip()).replace("::", ":"))
    return lines


def _code(text: str) -> str:
    return text.replace("``", "`")
