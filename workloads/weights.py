"""Models' weights in safetensors files, written and read with numpy.

tinygrad has functions for that, and they compute on its CPU backend, which runs `clang`: a program
that trains and serves on a GPU should need no compiler.
Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tally.workloads.digits import ConvNet, Mlp

DTYPES = {"F32": np.dtype("<f4")}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
LENGTH_BYTES = 8  # the file begins with the header's length, little-endian
ALIGNMENT = 8


def write(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> None:
    """Write named arrays of float32, making the folder. KeyError for another dtype."""
    header, offset = {}, 0
    for name, array in arrays.items():
        end = offset + array.nbytes
        described = {"dtype": NAMES[array.dtype], "shape": list(array.shape)}
        header[name] = {**described, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(LENGTH_BYTES, "little"))
        file.write(text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array).tobytes())


def read(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a file, by name. OSError; ValueError or KeyError if it is not such a file."""
    data = bytearray(path.read_bytes())  # tinygrad takes arrays that can be written to
    begin = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")
    header = json.loads(data[LENGTH_BYTES:begin])
    header.pop("__metadata__", None)
    arrays = {}
    for name, entry in header.items():
        low, high = (begin + offset for offset in entry["data_offsets"])
        flat = np.frombuffer(data[low:high], DTYPES[entry["dtype"]])
        arrays[name] = flat.reshape(entry["shape"])
    return arrays


def save(model: Mlp | ConvNet, path: Path) -> None:
    """Write the model's parameters, fetched from its device."""
    from tinygrad import nn

    state = nn.state.get_state_dict(model)
    write(path, {name: tensor.numpy() for name, tensor in state.items()})


def load(model: Mlp | ConvNet, path: Path) -> None:
    """Give the model the parameters in a file. ValueError unless the shapes agree."""
    from tinygrad import Tensor, nn

    arrays = {name: Tensor(array) for name, array in read(path).items()}
    nn.state.load_state_dict(model, arrays, verbose=False)
