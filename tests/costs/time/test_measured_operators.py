"""Operators in a file, and constants found from them."""

from __future__ import annotations

import pytest

from rmtscale.costs.time.constants import (
    ATTENTION,
    BACKWARD_OPERATOR,
    BANDWIDTH,
    FORWARD_OPERATOR,
    MATMUL,
    POWER,
    TENSOR,
    rate_name,
)
from rmtscale.costs.time.constants_file import constants_text, known_constants, read_constants
from rmtscale.costs.time.fit import fit_constants, kernel_seconds
from rmtscale.costs.time.kernels import (
    NORM,
    PLAIN,
    Attention,
    Kernel,
    Matmul,
    Stream,
)
from rmtscale.costs.time.measured import (
    Measured,
    MeasuredHost,
    MeasuredKernel,
    Sustained,
    from_line,
    to_line,
)
from rmtscale.errors import BadInput
from rmtscale.specs.devices import find_device

H200 = find_device("h200")
MACHINE = known_constants(H200)


def made() -> list[Measured]:
    """Operators as fast as the H200's constants say."""
    kernels: list[tuple[Kernel, str]] = [
        (Stream(PLAIN, 2**12), "fp32"),
        (Stream(PLAIN, 2**30), "fp32"),
        (Stream(NORM, 2**27), "bf16"),
        (Matmul(1, 512, 50257, 768, 2, aligned=False), "bf16"),
    ]
    for width, arithmetic in ((2, "bf16"), (4, "fp32")):
        for rows in (512, 4096):
            kernels.append((Matmul(1, rows, 2048, 2048, width, aligned=True), arithmetic))
            kernels.append((Attention(12, rows, 64, width, False, True), arithmetic))
    found: list[Measured] = [
        MeasuredKernel(one, used, "made", kernel_seconds(one, used, MACHINE))
        for one, used in kernels
    ]
    for forward, backward, tensors in ((100, 0, 0), (100, 300, 50), (50, 60, 200)):
        seconds = (
            forward * MACHINE[FORWARD_OPERATOR]
            + backward * MACHINE[BACKWARD_OPERATOR]
            + tensors * MACHINE[TENSOR]
        )
        found.append(MeasuredHost(forward, backward, tensors, seconds, 2e-5, "toy"))
    return [*found, Sustained("bf16", 8.0, 10.0)]


def test_lines_come_back_as_they_were() -> None:
    for one in made():
        assert from_line(to_line(one)) == one
    with pytest.raises(BadInput, match="expected a line of calibrate --measure"):
        from_line('{"kernel": {}}')


def test_a_fit_finds_the_machine_that_made_the_operators() -> None:
    found = fit_constants(H200, MACHINE.processors, made(), "here")
    for name in (
        *(rate_name(MATMUL, one) for one in ("bf16", "fp32", "fp16")),
        *(rate_name(ATTENTION, one) for one in ("bf16", "fp32")),
        *(BANDWIDTH, FORWARD_OPERATOR, BACKWARD_OPERATOR, TENSOR),
    ):
        assert found[name] == pytest.approx(MACHINE[name], rel=0.05), name
    assert found[POWER] == 0.8
    assert found.measured


def test_too_few_operators_are_refused() -> None:
    with pytest.raises(BadInput, match="expected streams of all sizes"):
        fit_constants(H200, 132, [], "here")
    kernels = [one for one in made() if not isinstance(one, MeasuredHost)]
    with pytest.raises(BadInput, match="expected steps of toys"):
        fit_constants(H200, 132, kernels, "here")


def test_a_file_of_constants() -> None:
    text = constants_text(MACHINE)
    again = read_constants(text, "h200.json", H200)
    assert dict(again.spreads) == dict(MACHINE.spreads)
    assert again.processors == 132
    for wrong, words in (
        (text.replace('"schema_version": 3', '"schema_version": 2'), "schema_version 2: expected"),
        (text.replace('"h200"', '"a100-80gb"'), "is of a100-80gb, expected h200"),
        ("{}", "expected what rmtscale calibrate --measure wrote"),
    ):
        with pytest.raises(BadInput, match=words):
            read_constants(wrong, "h200.json", H200)


def test_what_was_not_measured_is_known_by_its_datasheet() -> None:
    assert MACHINE.measured
    assert not known_constants(find_device("a100-80gb")).measured
