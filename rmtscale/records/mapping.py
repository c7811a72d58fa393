"""Converts frozen dataclasses to plain mappings and back; a misfit is named by its field.

A record read from a file is data from outside: every field is checked against its annotation, a
missing or an unknown one is an error, and nothing is evaluated. A number of a measurement is also
held against what its name says: no time is negative, and no share of all is above it.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, partial
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from rmtscale.errors import BadInput
from rmtscale.limits import MOST_NUMBER
from rmtscale.printable import printable
from rmtscale.readers import with_floats, without_floats
from rmtscale.specs.huggingface import from_config
from rmtscale.specs.layered import LayeredSpec
from rmtscale.specs.model import ModelSpec

LAYERED = "config"
"""The key under which a model given layer by layer stands: as the config that it was read from."""
T = TypeVar("T")
_KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


_NOT_NEGATIVE = (
    *("_bytes", "_seconds", "_tokens", "_flops", "_joules", "_per_second", "_segments", "_steps"),
    *("tokens", "flops", "seconds", "samples", "segments", "correct", "step", "stage", "loss"),
)
"""Ends of the names of what is counted or measured from 0 on."""
_SHARES = ("accuracy", "low", "high", "_share", "utilization")
_SIGNED = ("non_torch_bytes", "best_stage")
"""Differences of two measurements, and numbers of which -1 says that there is none."""


class Misfit(ValueError):
    """Raised for a value that does not fit its field; the message names the field."""


class Untrue(BadInput):
    """Raised for a number that no measurement can have; the message names the field."""


def to_mapping(value: Any) -> dict[str, Any]:
    """Returns a dataclass as nested dictionaries and lists, ready for ``json.dumps``."""
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}


def _plain(value: Any) -> Any:
    if isinstance(value, LayeredSpec):
        return {"name": value.name, LAYERED: without_floats(json.loads(value.config))}
    if is_dataclass(value):
        return to_mapping(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def from_mapping(kind: type[T], mapping: object, where: str = "", *, measured: bool = False) -> T:
    """Returns the dataclass ``kind`` that ``to_mapping`` made ``mapping`` of.

    Args:
        kind: what is made.
        mapping: its fields.
        where: names of the fields around it, for messages.
        measured: its numbers were measured, and have to be in the ranges of their names.

    Raises:
        Misfit: a field is missing, unknown, of another type, or refused by ``kind`` itself.
        Untrue: a measured number that cannot be.
    """
    if not isinstance(mapping, Mapping):
        raise Misfit(f"{where or kind.__name__}: expected an object")
    if kind is ModelSpec and LAYERED in mapping:
        return cast("T", _model_of_config(mapping, where))
    known = _fields(kind)  # type: ignore[arg-type]
    old_names: Mapping[str, str] = getattr(kind, "old_names", {})
    mapping = {old_names.get(name, name): value for name, value in mapping.items()}
    unknown = sorted(mapping.keys() - known.keys())
    if unknown:
        raise Misfit(f"{where}{unknown[0]}: no such field")
    values = {}
    for name, (convert, required) in known.items():
        if name in mapping:
            values[name] = convert(mapping[name], f"{where}{name}", measured)
        elif required:
            raise Misfit(f"{where}{name}: missing")
    try:
        return kind(**values)
    except Untrue as error:
        raise Untrue(f"{where}{error}") from error
    except ValueError as error:
        raise Misfit(f"{where or kind.__name__}: {error}") from error


def _model_of_config(value: Mapping[str, Any], where: str) -> ModelSpec:
    try:
        return from_config(with_floats(value[LAYERED]), str(value.get("name")))
    except ValueError as error:
        raise Misfit(f"{where}: {error}") from error


Convert = Callable[[Any, str, bool], Any]
"""Checks a value and returns it converted: what it is, the name of its field, ``measured``."""


@cache
def _fields(kind: type[Any]) -> dict[str, tuple[Convert, bool]]:
    """Returns by name what converts a field, and whether it has to be given."""
    hints = get_type_hints(kind)
    return {
        field.name: (
            _converter(hints[field.name]),
            field.default is MISSING and field.default_factory is MISSING,
        )
        for field in fields(kind)
    }


@cache
def _converter(hint: Any) -> Convert:
    """Returns what converts values of one annotation, which is looked into once for all records."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        convert = _converter(inner)
        return _or_none(convert) if type(None) in arguments else convert
    if origin is Literal:
        return partial(_chosen, arguments)
    if origin is tuple:
        return partial(_items, _converter(arguments[0]))
    if origin is dict:
        return partial(_values, _converter(arguments[1]))
    if is_dataclass(hint):
        return partial(_nested, hint)  # type: ignore[arg-type]
    if hint is object:  # options of another module, which checks them
        return _as_it_is
    return partial(_plain_value, hint)


def _or_none(convert: Convert) -> Convert:
    return lambda value, where, measured: None if value is None else convert(value, where, measured)


def _as_it_is(value: Any, _where: str, _measured: bool) -> Any:
    return value


def _chosen(accepted: tuple[Any, ...], value: Any, where: str, _measured: bool) -> Any:
    if not isinstance(value, str) or value not in accepted:
        raise Misfit(f"{where}: {value!r} is not one of {', '.join(map(str, accepted))}")
    return value


def _items(convert: Convert, value: Any, where: str, measured: bool) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise Misfit(f"{where}: expected a list")
    return tuple(convert(item, where, measured) for item in value)


def _values(convert: Convert, value: Any, where: str, measured: bool) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise Misfit(f"{where}: expected an object")
    return {str(key): convert(item, where, measured) for key, item in value.items()}


def _nested(kind: type[Any], value: Any, where: str, measured: bool) -> Any:
    return from_mapping(kind, value, f"{where}.", measured=measured)


def _plain_value(hint: Any, value: Any, where: str, measured: bool) -> Any:
    """Returns a number, a text or a switch."""
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(min(max(value, -MOST_NUMBER * 10), MOST_NUMBER * 10))
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise Misfit(f"{where}: {value!r} is not {_KINDS.get(hint, hint.__name__)}")
    if hint is str:
        return printable(value)
    if hint in (int, float):
        why = _out_of_range(where.rpartition(".")[2], value, measured=measured)
        if why:
            raise (Untrue if measured else Misfit)(f"{where}: {value!r}, expected {why}")
    return value


def _out_of_range(name: str, value: float, *, measured: bool) -> str:
    """Returns what a number of that name would have to be; nothing where it is that."""
    if not -MOST_NUMBER <= value <= MOST_NUMBER:  # not a number compares to nothing
        return "a finite number"
    if not measured or name in _SIGNED:
        return ""
    if name.endswith(_SHARES) and not 0 <= value <= 1:
        return "0 to 1"
    return "0 or more" if name.endswith(_NOT_NEGATIVE) and value < 0 else ""
