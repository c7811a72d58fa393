"""The GPUs that are known by name, each row with its source beside it.

Vendors print the sparse figure large: where a sheet gives only that, the row has half of it and
its source says so. Memory is what the driver's tool shows on a recent driver, in MiB, because
"80 GB" is 80 GiB on an A100 and 79.6 GiB on an H100, and 141 GB is 140.4 GiB on an H200. What
torch is offered of it is less again: the total in its own out-of-memory messages where one was
seen, the lowest of several (drivers differ by 0.1 GiB), and by a rule where none was.
"""

from __future__ import annotations

import difflib

from rmtscale.errors import BadInput, quoted_list
from rmtscale.specs.device import DeviceSpec, torch_total_bytes

_AMPERE = "NVIDIA A100 data sheet 1758950 r4, specifications, 2021"
_VOLTA = "NVIDIA V100 data sheet 1165301 r5, specifications, 2020"
_HOPPER = "NVIDIA H100 architecture white paper, H100 SXM5 and PCIe table, 2022"
_GA102 = "NVIDIA Ampere GA102 white paper v2.0, 2021"
_ADA = "NVIDIA Ada GPU architecture white paper v2.01, 2023"

_HOPPER_WORKSPACE_BYTES = 32 * 2**20
"""Bytes of torch's cuBLAS on Hopper: profiles/nvidia-h200 has so much more than tensors, per
thread."""


_METAL = "recommendedMaxWorkingSetSize in Metal's log, three quarters of the memory"
_BY_RULE = "the driver's, less the largest loss seen on any device"


def _tera(value: float) -> int:
    # Rounded to 0.1 GFLOP/s first, so that 989.4 is exactly 989_400 * 10**9.
    return round(value * 10_000) * 10**8


def _gpu(
    name: str,
    title: str,
    mebibytes: int,
    gigabytes_per_second: int,
    fp32: float | None,
    tf32: float | None,
    bf16: float | None,
    fp16: float | None,
    source: str,
    *,
    torch: tuple[float, str] | None = None,
    capability: tuple[int, int] | None = None,
    driver_names: tuple[str, ...] = (),
    workspace_bytes: int = 0,
) -> DeviceSpec:
    driver_bytes = mebibytes * 1024**2
    return DeviceSpec(
        name=name,
        title=title,
        driver_names=driver_names,
        driver_memory_bytes=driver_bytes,
        memory_bytes=torch_total_bytes(driver_bytes) if torch is None else int(torch[0] * 2**30),
        memory_source=_BY_RULE if torch is None else torch[1],
        bandwidth_bytes_per_second=gigabytes_per_second * 10**9,
        fp32_flops_per_second=None if fp32 is None else _tera(fp32),
        tf32_flops_per_second=None if tf32 is None else _tera(tf32),
        bf16_flops_per_second=None if bf16 is None else _tera(bf16),
        fp16_flops_per_second=None if fp16 is None else _tera(fp16),
        library_workspace_bytes=workspace_bytes,
        compute_capability=capability,
        source=source,
    )


_GPUS = (
    # name, title, MiB, GB/s, dense TFLOP/s: fp32, tf32, bf16, fp16 (None: no such tensor core);
    # torch: GiB that it was seen to have, and where.
    _gpu("a100-40gb", "NVIDIA A100 40GB, SXM4 or PCIe", 40960, 1555, 19.5, 156, 312, 312,
         "NVIDIA A100 architecture white paper, A100 table, 2020",
         driver_names=("NVIDIA A100-SXM4-40GB", "NVIDIA A100-PCIE-40GB"),
         torch=(39.50, "TianheWu/CoSeR issue 10"),
         capability=(8, 0)),
    _gpu("a100-80gb", "NVIDIA A100 80GB SXM4", 81920, 2039, 19.5, 156, 312, 312, _AMPERE,
         driver_names=("NVIDIA A100-SXM4-80GB",),
         torch=(79.25, "OOTDiffusion issue 235"),
         capability=(8, 0)),
    _gpu("a100-80gb-pcie", "NVIDIA A100 80GB PCIe", 81920, 1935, 19.5, 156, 312, 312, _AMPERE,
         driver_names=("NVIDIA A100 80GB PCIe",),
         torch=(79.25, "OOTDiffusion issue 235, of an A100 80GB"),
         capability=(8, 0)),
    _gpu("h100-sxm", "NVIDIA H100 80GB SXM5", 81559, 3350, 66.9, 494.7, 989.4, 989.4,
         f"{_HOPPER}; bandwidth: H100 data sheet, 2023",
         driver_names=("NVIDIA H100 80GB HBM3",), workspace_bytes=_HOPPER_WORKSPACE_BYTES,
         torch=(79.11, "vllm issue 27508"),
         capability=(9, 0)),
    _gpu("h100-pcie", "NVIDIA H100 80GB PCIe", 81559, 2000, 51.2, 378, 756, 756,
         f"{_HOPPER}; bandwidth: H100 data sheet, 2023",
         driver_names=("NVIDIA H100 PCIe",), workspace_bytes=_HOPPER_WORKSPACE_BYTES,
         capability=(9, 0)),
    _gpu("h100-nvl", "NVIDIA H100 94GB NVL, one of the pair", 95830, 3900, 60, 417.5, 835.5, 835.5,
         "NVIDIA H100 data sheet, H100 NVL column, 2024; tensor figures there are sparse: halved",
         driver_names=("NVIDIA H100 NVL",), workspace_bytes=_HOPPER_WORKSPACE_BYTES,
         torch=(93.00, "ali-vilab/VACE issue 56"),
         capability=(9, 0)),
    _gpu("h200", "NVIDIA H200 141GB SXM5", 143771, 4800, 66.9, 494.7, 989.4, 989.4,
         f"NVIDIA H200 data sheet, 2024: memory; its FLOP/s are the H100's, rounded: {_HOPPER}",
         driver_names=("NVIDIA H200",), workspace_bytes=_HOPPER_WORKSPACE_BYTES,
         torch=(139.80, "profiles/nvidia-h200"),
         capability=(9, 0)),
    _gpu("gh200", "NVIDIA GH200 with 96 GB HBM3 (not the 144 GB one)", 97871, 4000, 66.9, 494.7,
         989.4, 989.4,
         f"NVIDIA GH200 data sheet, 2023: memory; its FLOP/s are the H100's, rounded: {_HOPPER}",
         workspace_bytes=_HOPPER_WORKSPACE_BYTES,
         capability=(9, 0)),
    _gpu("h20", "NVIDIA H20 96GB", 97871, 4000, 44, 74, 148, 148,
         "NVIDIA H20 product specifications for HGX, 2024: dense",
         driver_names=("NVIDIA H20",), workspace_bytes=_HOPPER_WORKSPACE_BYTES,
         torch=(95.00, "DiffSynth-Studio issue 1238"),
         capability=(9, 0)),
    _gpu("b200", "NVIDIA B200 180GB, HGX", 183359, 8000, 75, 1125, 2250, 2250,
         "NVIDIA HGX B200 and DGX B200 data sheets, 2025: for 8 GPUs, here an eighth; tensor "
         "figures there are sparse: halved",
         driver_names=("NVIDIA B200",),
         torch=(178.35, "out-of-memory messages on HGX B200"),
         capability=(10, 0)),
    _gpu("b300", "NVIDIA B300 288GB, HGX", 275040, 8000, 75, 1125, 2250, 2250,
         "NVIDIA HGX B300 and DGX B300 data sheets, 2025: for 8 GPUs, here an eighth; tensor "
         "figures there are sparse: halved",
         driver_names=("NVIDIA B300 SXM6 AC",),
         capability=(10, 3)),
    _gpu("v100-16gb", "NVIDIA V100 16GB SXM2", 16384, 900, 15.7, None, None, 125, _VOLTA,
         driver_names=("Tesla V100-SXM2-16GB",),
         capability=(7, 0)),
    _gpu("v100-16gb-pcie", "NVIDIA V100 16GB PCIe", 16384, 900, 14, None, None, 112, _VOLTA,
         driver_names=("Tesla V100-PCIE-16GB",),
         capability=(7, 0)),
    _gpu("v100-32gb", "NVIDIA V100 32GB SXM2", 32768, 900, 15.7, None, None, 125, _VOLTA,
         driver_names=("Tesla V100-SXM2-32GB",),
         torch=(31.74, "ChatGLM-Finetuning issue 73"),
         capability=(7, 0)),
    _gpu("v100-32gb-pcie", "NVIDIA V100 32GB PCIe", 32768, 900, 14, None, None, 112, _VOLTA,
         driver_names=("Tesla V100-PCIE-32GB",),
         torch=(31.74, "ChatGLM-Finetuning issue 73, of a V100 32GB"),
         capability=(7, 0)),
    _gpu("t4", "NVIDIA T4", 15360, 320, 8.1, None, None, 65,
         "NVIDIA T4 data sheet 951643, 2019; bandwidth: T4 product brief, 256 bit at 10 Gbit/s",
         driver_names=("Tesla T4",),
         torch=(14.75, "hpcaitech/Open-Sora issue 697"),
         capability=(7, 5)),
    _gpu("a10", "NVIDIA A10", 23028, 600, 31.2, 62.5, 125, 125,
         "NVIDIA A10 data sheet, specifications, 2021",
         driver_names=("NVIDIA A10",),
         capability=(8, 6)),
    _gpu("a10g", "NVIDIA A10G (AWS G5)", 23028, 600, 35, 35, 70, 70,
         "NVIDIA A10G data sheet for AWS, February 2022",
         driver_names=("NVIDIA A10G",),
         capability=(8, 6)),
    _gpu("l4", "NVIDIA L4", 23034, 300, 30.3, 60, 121, 121,
         "NVIDIA L4 data sheet, 2023; tensor figures there (120, 242) are sparse: halved",
         driver_names=("NVIDIA L4",),
         torch=(22.03, "ArcInstitute/evo2 issue 190"),
         capability=(8, 9)),
    _gpu("l40", "NVIDIA L40", 46068, 864, 90.5, 90.5, 181.05, 181.05,
         "NVIDIA L40 data sheet, specifications, 2022",
         driver_names=("NVIDIA L40",), torch=(44.40, "QwenLM/Qwen3-VL issue 2097"),
         capability=(8, 9)),
    _gpu("l40s", "NVIDIA L40S", 46068, 864, 91.6, 183, 362.05, 362.05,
         "NVIDIA L40S data sheet, specifications, 2023",
         driver_names=("NVIDIA L40S",),
         capability=(8, 9)),
    _gpu("rtx-a6000", "NVIDIA RTX A6000", 49140, 768, 38.7, 77.4, 154.8, 154.8,
         f"{_GA102}, Appendix C, RTX A6000",
         driver_names=("NVIDIA RTX A6000",),
         capability=(8, 6)),
    _gpu("rtx-6000-ada", "NVIDIA RTX 6000 Ada Generation", 49140, 960, 91.1, 182.1, 364.2, 364.2,
         "NVIDIA RTX 6000 Ada data sheet, 2023: fp32 and 1457 sparse fp8, which is 4 x fp16, "
         "8 x tf32",
         driver_names=("NVIDIA RTX 6000 Ada Generation",),
         capability=(8, 9)),
    _gpu("rtx-3090", "NVIDIA GeForce RTX 3090", 24576, 936, 35.6, 35.6, 71, 71,
         f"{_GA102}, Appendix A, RTX 3090, fp32 accumulate",
         driver_names=("NVIDIA GeForce RTX 3090",),
         capability=(8, 6)),
    _gpu("rtx-4080", "NVIDIA GeForce RTX 4080", 16376, 717, 48.7, 48.7, 97.5, 97.5,
         f"{_ADA}, Appendix A, RTX 4080, fp32 accumulate",
         driver_names=("NVIDIA GeForce RTX 4080",),
         capability=(8, 9)),
    _gpu("rtx-4090", "NVIDIA GeForce RTX 4090", 24564, 1008, 82.6, 82.6, 165.2, 165.2,
         f"{_ADA}, Appendix A, RTX 4090, fp32 accumulate",
         driver_names=("NVIDIA GeForce RTX 4090",),
         torch=(23.68, "zai-org/CogVideo issue 36"),
         capability=(8, 9)),
    _gpu("rtx-5090", "NVIDIA GeForce RTX 5090", 32607, 1792, 104.8, 104.8, 209.5, 209.5,
         "NVIDIA RTX Blackwell white paper, RTX 5090 table, fp32 accumulate, 2025",
         torch=(31.37, "Wan-Video/Wan2.1 issue 465"),
         capability=(12, 0)),
    _gpu("mi250x-gcd", "AMD Instinct MI250X, one of its two dies", 65520, 1600, 47.85, None, 191.5,
         191.5,
         "AMD Instinct MI200 data sheet, 2021: for two dies, here half; fp32 is its matrix row"),
    _gpu("mi300x", "AMD Instinct MI300X", 196592, 5300, 163.4, 653.7, 1307.4, 1307.4,
         "AMD Instinct MI300X data sheet, 2023",
         torch=(191.69, "out-of-memory messages under ROCm")),
    _gpu("mi325x", "AMD Instinct MI325X", 262128, 6000, 163.4, 653.7, 1307.4, 1307.4,
         "AMD Instinct MI325X data sheet, 2024"),
    # Unified memory; for these only what fits is said, no times.
    _gpu("apple-m3-max-48gb", "Apple M3 Max with 48 GB", 49152, 400, None, None, None, None,
         "Apple MacBook Pro technical specifications, 2023", torch=(36.00, _METAL)),
    _gpu("apple-m4-max-128gb", "Apple M4 Max with 128 GB", 131072, 546, None, None, None, None,
         "Apple MacBook Pro technical specifications, 2024", torch=(96.00, _METAL)),
)  # fmt: skip

DEVICES: dict[str, DeviceSpec] = {device.name: device for device in _GPUS}

ALIASES = {
    "a100": "a100-80gb",
    "h100": "h100-sxm",
    "v100": "v100-32gb",
    "a6000": "rtx-a6000",
    "6000-ada": "rtx-6000-ada",
    "3090": "rtx-3090",
    "4080": "rtx-4080",
    "4090": "rtx-4090",
    "5090": "rtx-5090",
    "mi250x": "mi250x-gcd",
    "m3-max": "apple-m3-max-48gb",
    "m4-max": "apple-m4-max-128gb",
}
"""Short names, and the device that is meant; every command names that in full."""


def find_device(name: str) -> DeviceSpec:
    """Returns the device of that name, alias, or name at its driver, upper or lower case.

    ``RTX 4090`` and ``rtx_4090`` are ``rtx-4090``. No device is ever taken for another.

    Raises:
        BadInput: no such device; names the nearest and lists all that are known.
    """
    key = "-".join(name.lower().replace("_", " ").split())
    device = DEVICES.get(ALIASES.get(key, key)) or find_by_driver_name(name)
    if device is not None:
        return device
    starting = [known for known in DEVICES if key and known.startswith(key)]
    near = starting or difflib.get_close_matches(key, DEVICES, n=3, cutoff=0.6)
    hint = f"did you mean {quoted_list(near)}? " if near else ""
    raise BadInput(f"device {name!r}: {hint}expected one of {', '.join(DEVICES)}")


def find_by_driver_name(name: str) -> DeviceSpec | None:
    """Returns the device that NVML and torch call ``name`` (``NVIDIA H200``); None: not known."""
    key = name.strip().lower()
    for device in DEVICES.values():
        if key in map(str.lower, device.driver_names):
            return device
    return None
