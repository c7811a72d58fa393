"""Matrix products by an algorithm of choice: cuBLASLt, called through ctypes.

Shape legend: R rows, K in, N out.

Torch asks cuBLASLt's heuristic for its first suggestion and takes it. Here all of its suggestions
can be timed. Only for measuring: no part of the package calls this.
"""

from __future__ import annotations

import ctypes
from ctypes import byref, c_float, c_int, c_int32, c_int64, c_size_t, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Any

_BF16, _FP32, _COMPUTE_FP32 = 14, 0, 68
_NO, _TRANSPOSED = 0, 1
_TRANSPOSE_A, _EPILOGUE, _BIAS = 3, 7, 8
_MAX_WORKSPACE = 1
_WORKSPACE_BYTES = 32 * 2**20
EPILOGUES = {"none": 1, "bias": 4, "gelu": 36}
"""What is done to a product before it is written; ``gelu`` adds the bias first (tanh form)."""
_FACTS = {"algorithm": 0, "tile": 1, "split_k": 2, "swizzle": 4, "custom": 5, "stages": 6}


class _Algorithm(ctypes.Structure):
    _fields_ = [("data", c_uint64 * 8)]


class _Suggestion(ctypes.Structure):
    _fields_ = [
        ("algorithm", _Algorithm),
        ("workspace_bytes", c_size_t),
        ("state", c_int),
        ("waves", c_float),
        ("reserved", c_int * 4),
    ]


def _library() -> Any:
    """The library that torch has loaded."""
    with open("/proc/self/maps", encoding="utf-8") as file:
        paths = {line.split()[-1] for line in file if "libcublasLt.so" in line}
    if not paths:
        raise OSError("torch has not loaded libcublasLt.so")
    return ctypes.CDLL(sorted(paths)[0])


def _check(status: int, what: str) -> None:
    if status:
        raise RuntimeError(f"{what}: cuBLASLt status {status}")


@dataclass(frozen=True)
class Suggestion:
    """One algorithm of the heuristic, and what it says of itself."""

    algorithm: _Algorithm
    facts: dict[str, float]


class Product:
    """``out = epilogue(left @ right + bias) + beta * added`` in bf16, for tensors of one shape.

    Args:
        shape: R, K, N.
        epilogue: a key of ``EPILOGUES``.
        transposed: the right matrix is stored as (N, K), as ``nn.Linear`` has it.
        adds: a matrix (R, N) is added to the product.
        workspace: a tensor of at least 32 MiB.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        epilogue: str,
        workspace: Any,
        *,
        transposed: bool = False,
        adds: bool = False,
    ) -> None:
        self.library, (rows, inner, outer) = _library(), shape
        self.workspace, self.adds = workspace, adds
        self.handle, self.work = c_void_p(), c_void_p()
        lib = self.library
        _check(lib.cublasLtCreate(byref(self.handle)), "create")
        _check(lib.cublasLtMatmulDescCreate(byref(self.work), _COMPUTE_FP32, _FP32), "descriptor")
        self._set(_TRANSPOSE_A, c_int32(_TRANSPOSED if transposed else _NO))
        self._set(_EPILOGUE, c_int32(EPILOGUES[epilogue]))
        self.has_bias = epilogue != "none"
        # Row by row for torch is column by column for BLAS: (N, R) = (N, K) (K, R).
        first = (inner, outer) if transposed else (outer, inner)
        self.right, self.left, self.out = (
            self._layout(*sizes) for sizes in (first, (inner, rows), (outer, rows))
        )

    def _set(self, attribute: int, value: Any) -> None:
        set_attribute = self.library.cublasLtMatmulDescSetAttribute
        _check(
            set_attribute(self.work, attribute, byref(value), c_size_t(ctypes.sizeof(value))),
            f"attribute {attribute}",
        )

    def _layout(self, rows: int, columns: int) -> c_void_p:
        found = c_void_p()
        create = self.library.cublasLtMatrixLayoutCreate
        _check(
            create(byref(found), _BF16, c_uint64(rows), c_uint64(columns), c_int64(rows)), "layout"
        )
        return found

    def suggestions(self, bias: Any, most: int = 64) -> list[Suggestion]:
        """Asks the heuristic; ``bias`` is any vector of N, for its alignment."""
        lib, preference = self.library, c_void_p()
        _check(lib.cublasLtMatmulPreferenceCreate(byref(preference)), "preference")
        limit = c_uint64(_WORKSPACE_BYTES)
        _check(
            lib.cublasLtMatmulPreferenceSetAttribute(
                preference, _MAX_WORKSPACE, byref(limit), c_size_t(8)
            ),
            "workspace",
        )
        if self.has_bias:
            self._set(_BIAS, c_void_p(bias.data_ptr()))
        found, count = (_Suggestion * most)(), c_int()
        layouts = (self.right, self.left, self.out, self.out)
        ask = lib.cublasLtMatmulAlgoGetHeuristic
        _check(
            ask(self.handle, self.work, *layouts, preference, c_int(most), found, byref(count)),
            "heuristic",
        )
        lib.cublasLtMatmulPreferenceDestroy(preference)
        good = [one for one in found[: count.value] if not one.state]
        return [Suggestion(one.algorithm, self._facts(one)) for one in good]

    def _facts(self, one: _Suggestion) -> dict[str, float]:
        facts: dict[str, float] = {
            "waves": float(one.waves),
            "workspace_bytes": int(one.workspace_bytes),
        }
        for name, attribute in _FACTS.items():
            value, written = c_int32(-1), c_size_t()
            get = self.library.cublasLtMatmulAlgoConfigGetAttribute
            status = get(byref(one.algorithm), attribute, byref(value), c_size_t(4), byref(written))
            facts[name] = value.value if not status else -1
        return facts

    def __call__(
        self, suggestion: Suggestion, left: Any, right: Any, bias: Any, added: Any, out: Any
    ) -> None:
        """Runs on torch's current stream; it can be captured. ``added`` may be ``out``."""
        import torch

        if self.has_bias:
            self._set(_BIAS, c_void_p(bias.data_ptr()))
        beta = c_float(1.0 if self.adds else 0.0)
        _check(
            self.library.cublasLtMatmul(
                self.handle,
                self.work,
                byref(c_float(1.0)),
                c_void_p(right.data_ptr()),
                self.right,
                c_void_p(left.data_ptr()),
                self.left,
                byref(beta),
                c_void_p((added if self.adds else out).data_ptr()),
                self.out,
                c_void_p(out.data_ptr()),
                self.out,
                byref(suggestion.algorithm),
                c_void_p(self.workspace.data_ptr()),
                c_size_t(_WORKSPACE_BYTES),
                c_void_p(torch.cuda.current_stream().cuda_stream),
            ),
            "matmul",
        )
