"""The tensors of safetensors files, from their headers: 8 bytes of length, then JSON; the weights are not read."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from engines.preflight.errors import DamagedModelError, PreflightError
from engines.preflight.files import parse_json, read_mapping, unreadable

BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I8", "U8", "BOOL"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
"""Bits of each dtype that safetensors 0.8 writes."""

FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
"""Types that vLLM turns into the one it runs with; the others are kept as they are."""

LARGEST_HEADER = 100_000_000
"""What safetensors itself refuses to read beyond."""

INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a checkpoint; `size_bytes` is what it takes on disk."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int

    @property
    def elements(self) -> int:
        """Its numbers; of packed quantized ones, the words they are packed into."""
        return prod(self.shape)


def read_tensors(folder: Path) -> tuple[Tensor, ...]:
    """Every tensor of the folder's safetensors files; none where it has no such files.

    Raises PreflightError for a file that is cut off, damaged, missing though the index names it, or unreadable.
    """
    return tuple(tensor for path in _files(folder) for tensor in read_header(path))


def read_header(path: Path) -> tuple[Tensor, ...]:
    """The tensors of one file, checked against its size; raises PreflightError as `read_tensors` does."""
    try:
        if path.exists() and not path.is_file():  # a pipe would never end
            raise PreflightError(f"{path} is no plain file; download the model again")
        size = path.stat().st_size
        with path.open("rb") as file:
            length = file.read(8)
            header_bytes = struct.unpack("<Q", length)[0] if len(length) == 8 else size
            if header_bytes > min(LARGEST_HEADER, size - 8):
                raise _cut_off(path, f"its header should have {header_bytes:,} bytes, the file has {size:,}")
            header = parse_json(file.read(header_bytes))
    except OSError as error:
        raise unreadable(path, error) from None
    except ValueError:
        raise DamagedModelError(f"{path} is damaged: its safetensors header is not JSON; download it again") from None
    tensors, end = _tensors(path, header)
    if size != 8 + header_bytes + end:
        raise _cut_off(path, f"its tensors need {8 + header_bytes + end:,} bytes, the file has {size:,}")
    return tensors


def _cut_off(path: Path, why: str) -> DamagedModelError:
    return DamagedModelError(f"{path} is truncated or no safetensors file: {why}; download it again")


def _tensors(path: Path, header: object) -> tuple[tuple[Tensor, ...], int]:
    """The tensors of a decoded header and where the last one ends."""
    if not isinstance(header, dict):
        raise DamagedModelError(f"{path} is damaged: its safetensors header is no mapping; download it again")
    found, end = [], 0
    for name, entry in header.items():
        if name != "__metadata__":
            found.append(_tensor(path, name, entry))
            end = max(end, entry["data_offsets"][1])
    if sum(tensor.size_bytes for tensor in found) != end:
        raise DamagedModelError(f"{path} is damaged: its tensors overlap or leave gaps; download it again")
    return tuple(found), end


def _tensor(path: Path, name: str, entry: Mapping[str, Any]) -> Tensor:
    try:
        begin, end = entry["data_offsets"]
        dtype, shape = str(entry["dtype"]), tuple(entry["shape"])
        if any(type(number) is not int or number < 0 for number in (begin, end, *shape)):
            raise ValueError(name)
    except (KeyError, TypeError, ValueError):
        raise DamagedModelError(f"{path} is damaged: tensor {name!r} is not described; download it again") from None
    if dtype not in BITS:
        raise PreflightError(f"{path}: tensor {name!r} has the unknown dtype {dtype!r}; known are {', '.join(BITS)}")
    tensor = Tensor(name, dtype, shape, end - begin)
    if tensor.size_bytes != (tensor.elements * BITS[dtype] + 7) // 8:
        raise DamagedModelError(f"{path} is damaged: tensor {name!r} does not fit its shape; download it again")
    return tensor


def _files(folder: Path) -> list[Path]:
    """The weights' files: those of the index where there is one, else all that lie here."""
    index = folder / INDEX
    try:
        if index.is_file():
            names = sorted(set(read_mapping(index)["weight_map"].values()))
            missing = [name for name in names if not (folder / name).is_file()]
            if len(missing) == len(names):
                return []  # the configuration alone was fetched
            if missing:
                raise DamagedModelError(f"{folder} lacks {missing[0]}, which {INDEX} names; download the model again")
            return [folder / name for name in names]
        files = sorted(folder.glob("*.safetensors"))
        single = folder / "model.safetensors"  # beside it, some repositories keep a second copy in another layout
        return [single] if single in files else files
    except OSError as error:
        raise unreadable(folder, error) from None
    except (ValueError, KeyError, AttributeError, TypeError):
        raise DamagedModelError(f"{index} is damaged: it has no weight_map; download it again") from None
