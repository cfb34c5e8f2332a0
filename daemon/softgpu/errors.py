"""What can be wrong with PTX, as CUDA's error codes."""

from __future__ import annotations

CUDA_ERROR_OUT_OF_MEMORY = 2
CUDA_ERROR_INVALID_IMAGE = 200
CUDA_ERROR_NO_BINARY_FOR_GPU = 209
CUDA_ERROR_INVALID_PTX = 218
CUDA_ERROR_UNSUPPORTED_PTX_VERSION = 222
CUDA_ERROR_CONTEXT_IS_DESTROYED = 709
CUDA_ERROR_NOT_SUPPORTED = 801
CUDA_ERROR_UNKNOWN = 999


class PtxError(Exception):
    """PTX that cannot be compiled; `result` is the CUresult that a module load gives for it."""

    def __init__(self, line: int, message: str, result: int = CUDA_ERROR_INVALID_PTX) -> None:
        super().__init__(f"line {line}: {message}" if line else message)
        self.line = line
        self.message = message
        self.result = result


class UnsupportedError(PtxError):
    """PTX that a GPU takes and this compiler does not: it refuses the kernels that reach it, when
    they are launched, and not their module."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(line, message, CUDA_ERROR_NOT_SUPPORTED)
