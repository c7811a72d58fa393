"""The GPU table: sourced, dense, in plausible order, and no device ever taken for another."""

from __future__ import annotations

import csv
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from rmtscale.errors import BadInput
from rmtscale.specs.device import DEVICE_DTYPES, torch_total_bytes
from rmtscale.specs.devices import ALIASES, DEVICES, find_by_driver_name, find_device

TERA = 10**12

# Dense fp16 peak a second way: processors, clock in MHz, FLOPs per clock and processor with fp32
# accumulate. A sparse figure would be twice that, GeForce's fp16 accumulate too.
FIRST_PRINCIPLES = {
    "a100-40gb": (108, 1410, 2048),
    "a100-80gb": (108, 1410, 2048),
    "a100-80gb-pcie": (108, 1410, 2048),
    "h100-sxm": (132, 1830, 4096),
    "h100-pcie": (114, 1620, 4096),
    "h100-nvl": (132, 1545, 4096),
    "h200": (132, 1830, 4096),
    "h20": (78, 1830, 1024),
    "gh200": (132, 1830, 4096),
    "b200": (148, 1850, 8192),
    "b300": (148, 1850, 8192),
    "v100-16gb": (80, 1530, 1024),
    "v100-16gb-pcie": (80, 1380, 1024),
    "v100-32gb": (80, 1530, 1024),
    "v100-32gb-pcie": (80, 1380, 1024),
    "t4": (40, 1590, 1024),
    "a10": (72, 1695, 1024),
    "a10g": (80, 1710, 512),
    "l4": (58, 2040, 1024),
    "l40": (142, 2490, 512),
    "l40s": (142, 2520, 1024),
    "rtx-a6000": (84, 1800, 1024),
    "rtx-6000-ada": (142, 2505, 1024),
    "rtx-3090": (82, 1695, 512),
    "rtx-4080": (76, 2505, 512),
    "rtx-4090": (128, 2520, 512),
    "rtx-5090": (170, 2407, 512),
    "mi250x-gcd": (110, 1700, 1024),
    "mi300x": (304, 2100, 2048),
    "mi325x": (304, 2100, 2048),
}
TIMED = [name for name, device in DEVICES.items() if device.timed]
GIB = 2**30
SEEN = {
    "a100-80gb": 79.25,
    "a100-40gb": 39.50,
    "v100-32gb": 31.74,
    "t4": 14.75,
    "rtx-4090": 23.68,
    "h200": 139.80,
    "h100-sxm": 79.11,
    "b200": 178.35,
}
"""GiB that torch's own messages say a device has."""


@pytest.mark.parametrize("name", DEVICES)
def test_every_device_is_sourced_and_positive(name: str) -> None:
    device = DEVICES[name]
    assert device.name == name == name.lower()
    assert device.title.startswith(("NVIDIA ", "AMD ", "Apple "))
    assert device.source.startswith(device.title.split()[0])
    assert device.memory_source
    assert any(year in device.source for year in map(str, range(2018, 2027)))
    assert device.memory_bytes > 8 * 1024**3
    assert device.bandwidth_bytes_per_second > 100 * 10**9
    assert set(device.dtypes) <= set(DEVICE_DTYPES)
    assert device.title.startswith("Apple ") or {"fp32", "fp16"} <= set(device.dtypes)
    for dtype in device.dtypes:
        assert isinstance(device.flops_per_second(dtype), int)
        assert TERA < device.flops_per_second(dtype) < 10_000 * TERA


@pytest.mark.parametrize("name", TIMED)
def test_lower_precision_is_never_slower(name: str) -> None:
    device = DEVICES[name]
    peaks = [device.flops_per_second(dtype) for dtype in device.dtypes]
    assert peaks == sorted(peaks)
    if device.bf16_flops_per_second is not None:
        assert device.bf16_flops_per_second == device.fp16_flops_per_second
    if device.tf32_flops_per_second is not None:
        ratio = device.flops_per_second("fp16") / device.tf32_flops_per_second
        assert ratio == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize("name", TIMED)
def test_dense_peak_follows_from_processors_and_clock(name: str) -> None:
    processors, megahertz, flops_per_clock = FIRST_PRINCIPLES[name]
    expected = processors * megahertz * 10**6 * flops_per_clock
    assert DEVICES[name].flops_per_second("fp16") == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("name", "dtype", "peak"),
    [
        ("a100-80gb", "bf16", 312_000_000_000_000),
        ("a100-40gb", "tf32", 156_000_000_000_000),
        ("a100-80gb", "fp32", 19_500_000_000_000),
        ("h100-sxm", "bf16", 989_400_000_000_000),
        ("h200", "bf16", 989_400_000_000_000),
        ("v100-32gb", "fp16", 125_000_000_000_000),
        ("rtx-4090", "fp16", 165_200_000_000_000),
        ("rtx-3090", "fp16", 71_000_000_000_000),
        ("l4", "bf16", 121_000_000_000_000),
        ("l40s", "bf16", 362_050_000_000_000),
        ("mi250x-gcd", "fp32", 47_850_000_000_000),
    ],
)
def test_known_peaks_are_exact(name: str, dtype: str, peak: int) -> None:
    assert find_device(name).flops_per_second(dtype) == peak


def test_bandwidths_are_in_order() -> None:
    names = ["t4", "v100-32gb", "a100-40gb", "a100-80gb-pcie", "a100-80gb", "h100-sxm",
             "h100-nvl", "gh200", "h200", "b200"]  # fmt: skip
    bandwidths = [DEVICES[name].bandwidth_bytes_per_second for name in names]
    assert bandwidths == sorted(set(bandwidths))
    assert DEVICES["a100-80gb"].bandwidth_bytes_per_second == 2_039_000_000_000


def test_driver_memory_is_what_the_driver_shows() -> None:
    assert DEVICES["h200"].driver_memory_bytes == 143_771 * 1024**2
    assert DEVICES["a100-80gb"].driver_memory_bytes == 80 * GIB
    assert DEVICES["h100-sxm"].driver_memory_bytes < 80 * GIB
    assert DEVICES["mi300x"].driver_memory_bytes == 206_141_652_992 < 192 * GIB


@pytest.mark.parametrize("name", DEVICES)
def test_usable_memory_is_below_the_driver_s_and_not_far(name: str) -> None:
    device = DEVICES[name]
    unified = device.title.startswith("Apple ")
    lost = device.driver_memory_bytes - device.usable_memory_bytes
    assert 0 < lost <= (device.driver_memory_bytes // 4 if unified else 0.76 * GIB)


@pytest.mark.parametrize(("name", "gibibytes"), SEEN.items())
def test_usable_memory_is_what_torch_was_seen_to_have(name: str, gibibytes: float) -> None:
    assert DEVICES[name].usable_memory_bytes == int(gibibytes * GIB)


@pytest.mark.parametrize("name", DEVICES)
def test_the_rule_promises_no_more_than_was_seen(name: str) -> None:
    """Where torch's total is known, the rule for the unknown gives no more, nor 2 % less."""
    device = DEVICES[name]
    if not device.title.startswith("Apple "):
        by_rule = torch_total_bytes(device.driver_memory_bytes)
        assert 0.98 * device.memory_bytes < by_rule <= device.memory_bytes + GIB // 1024


def test_a_reserve_is_taken_from_what_is_usable() -> None:
    left = DEVICES["t4"].reserving(2 * GIB)
    assert left.usable_memory_bytes == DEVICES["t4"].usable_memory_bytes - 2 * GIB
    assert left.memory_bytes == DEVICES["t4"].memory_bytes
    with pytest.raises(BadInput, match=r"^reserve 16.00 GiB: expected less than the 14.75 GiB of"):
        DEVICES["t4"].reserving(16 * GIB)


def test_find_device_ignores_case() -> None:
    assert find_device("A100-80GB") is DEVICES["a100-80gb"]
    assert find_device(" H200 ") is DEVICES["h200"]


def test_unknown_device_names_the_value_and_lists_all() -> None:
    with pytest.raises(BadInput) as error:
        find_device("TPU-v5")
    message = str(error.value)
    assert message.startswith("device 'TPU-v5': ")
    assert all(name in message for name in DEVICES)
    assert "\n" not in message


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_an_alias_is_no_device_and_means_one(alias: str, name: str) -> None:
    assert alias not in DEVICES
    assert find_device(alias) is find_device(alias.upper()) is DEVICES[name]


def test_spaces_and_underscores_are_read_as_dashes() -> None:
    assert find_device("RTX 4090") is find_device("rtx_4090") is DEVICES["rtx-4090"]


@pytest.mark.parametrize("name", ["a10080", "h100-", "v10", "rtx", "h2000", ""])
def test_no_device_is_taken_for_another(name: str) -> None:
    with pytest.raises(BadInput, match="expected one of a100-40gb, "):
        find_device(name)


def test_an_ambiguous_name_gets_its_siblings_as_a_hint() -> None:
    with pytest.raises(BadInput, match=r"did you mean h100-sxm, h100-pcie or h100-nvl\?"):
        find_device("H100-")


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_device_known_for_its_memory_only_has_no_times(dtype: str) -> None:
    with pytest.raises(BadInput, match=r"^device 'apple-m4-max-128gb': known for its memory only"):
        find_device("m4-max").flops_per_second(dtype)


@pytest.mark.parametrize("name", ["v100-16gb", "v100-32gb", "t4"])
@pytest.mark.parametrize("dtype", ["bf16", "tf32", "int3"])
def test_missing_dtype_names_those_the_device_has(name: str, dtype: str) -> None:
    with pytest.raises(BadInput, match=rf"^dtype '{dtype}': {name} .*expected fp32 or fp16$"):
        find_device(name).flops_per_second(dtype)


def test_a_device_is_immutable_and_checked() -> None:
    device = DEVICES["h200"]
    with pytest.raises(FrozenInstanceError):
        device.memory_bytes = 1  # type: ignore[misc]
    with pytest.raises(BadInput, match="h200 memory 0: expected a whole number of 1 or more"):
        replace(device, memory_bytes=0)
    with pytest.raises(BadInput, match="expected no more than the driver's"):
        replace(device, memory_bytes=device.driver_memory_bytes + 1)
    with pytest.raises(BadInput, match="expected a source for its memory"):
        replace(device, memory_source="")
    with pytest.raises(BadInput, match="h200 fp16 FLOP/s -1"):
        replace(device, fp16_flops_per_second=-1)
    with pytest.raises(BadInput, match="expected a source"):
        replace(device, source="")


@pytest.mark.parametrize("name", DEVICES)
def test_a_driver_s_name_finds_its_device_and_no_other(name: str) -> None:
    for driver_name in DEVICES[name].driver_names:
        assert find_by_driver_name(driver_name) is DEVICES[name]
        assert find_device(driver_name) is DEVICES[name]
    assert find_by_driver_name(name) is None


def test_most_devices_are_known_to_their_driver() -> None:
    assert sum(bool(device.driver_names) for device in DEVICES.values()) >= 21


def test_no_number_changes_unseen() -> None:
    """Every number of the table a second time (``devices.csv``): a slip of the pen needs two."""
    text = Path(__file__).with_name("devices.csv").read_text(encoding="utf-8")
    written = list(csv.DictReader(text.splitlines()))
    assert [row["name"] for row in written] == list(DEVICES)
    for row in written:
        device = DEVICES[row.pop("name")]
        assert row == {name: str(getattr(device, name) or "") for name in row} | {
            "library_workspace_bytes": str(device.library_workspace_bytes)
        }
