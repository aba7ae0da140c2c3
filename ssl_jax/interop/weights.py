"""Files of named tensors: safetensors, whole or sharded, and torch's older .bin, read without running any code."""

import contextlib
import os
import pickle
import re
import stat
import warnings
import zipfile
from pathlib import Path

import ml_dtypes  # noqa: F401  without it NumPy has no bfloat16
import safetensors
import safetensors.numpy

from ssl_jax.errors import UserError, cut, listed, shown
from ssl_jax.files import read_json

FILES = ("model.safetensors", "pytorch_model.bin")  # tried in this order, each also as shards with an index
# The safetensors dtypes that a model can have; a float8 is not a weight without its scale.
KINDS = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"}
# A .bin may hold the same bytes under several names, as for tied tables, but not a million times.
VIEWS = 8


def read(folder):
    """All tensors in a model's folder: name -> NumPy array, as stored.

    Raises:
      UserError: no tensors, a damaged or missing file, a .bin that holds anything but tensors, or a tensor of a kind
        that weights cannot have: float8, complex, sparse, quantised, without values.
    """
    for name in FILES:
        if (Path(folder) / name).is_file():
            return read_file(Path(folder) / name)
        if (Path(folder) / f"{name}.index.json").is_file():
            return _read_shards(Path(folder) / f"{name}.index.json")
    raise UserError(f"{folder} holds no weights: there is neither {' nor '.join(FILES)}, whole or in shards")


def _read_shards(index):
    parts = read_json(index).get("weight_map")
    if not isinstance(parts, dict) or not parts or not all(isinstance(name, str) for name in parts.values()):
        raise UserError(f"{index} is damaged: it does not say which tensor is in which file")
    tensors = {}
    for name in sorted(set(parts.values())):
        if Path(name).name != name:
            raise UserError(f"{index} names {shown(name)}: shards are files beside it")
        if not (index.parent / name).is_file():
            raise UserError(f"{index.parent / cut(name)} is missing, which {index.name} names")
        shard = read_file(index.parent / name)
        twice = sorted(tensors.keys() & shard.keys())
        if twice:
            raise UserError(f"{index.parent / name} has {listed(twice, 1)}, and so has another shard")
        tensors |= shard
    lost = sorted(parts.keys() - tensors.keys())
    if lost:
        raise UserError(f"{index.parent / parts[lost[0]]} has no tensor {cut(lost[0])}, which {index.name} says it has")
    return tensors


def names(folder):
    """The names of all tensors in a model's folder, a set; safetensors values are not read. Errors as in `read`."""
    path, index = Path(folder) / FILES[0], Path(folder) / f"{FILES[0]}.index.json"
    if path.is_file():
        try:
            with safetensors.safe_open(path, framework="numpy") as file:
                return {*file.keys()}
        except Exception as error:  # its own, which share no narrower type
            raise UserError(f"{path} is damaged or no safetensors file: {_first_line(error)}") from error
    parts = read_json(index).get("weight_map") if index.is_file() else None
    return {*parts} if isinstance(parts, dict) else {*read(folder)}


def read_file(path):
    """The tensors of one file, in the format given by its suffix; errors as in `read`."""
    return _read_bin(path) if path.suffix == ".bin" else _read_safetensors(path)


def write(tensors, path):
    """Writes tensors, name -> NumPy array, as safetensors.

    Raises:
      UserError: the file cannot be written.
    """
    try:
        # The library's file would be readable only by its owner, whatever the umask.
        with open(path, "wb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        safetensors.numpy.save_file(tensors, path, metadata={"format": "pt"})
        os.chmod(path, mode)
    except (safetensors.SafetensorError, OSError) as error:
        reason = re.search(r"I/O error: (.*?) \(os error", str(error))
        reason = reason[1] if reason else getattr(error, "strerror", None) or _first_line(error)
        raise UserError(f"cannot write {path}: {reason}") from error


def refuse_kinds(kinds, where):
    """Raises UserError if there are any `kinds`: tensor -> what it is instead of numbers that can be weights."""
    for first in kinds.values():
        alike = [name for name, kind in kinds.items() if kind == first]
        raise UserError(
            f"{where}: {listed(alike, 1)} {'are' if len(alike) > 1 else 'is'} {first}; weights are float32, float16 or "
            "bfloat16: have them saved so, those of a quantised model dequantised"
        )


def _read_safetensors(path):
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}
            refuse_kinds({name: kind for name, kind in kinds.items() if kind not in KINDS}, path)
            return {name: file.get_tensor(name) for name in kinds}
    except UserError:
        raise
    except Exception as error:  # its own, and NumPy's for impossible shapes
        raise UserError(f"{path} is damaged or no safetensors file: {_first_line(error)}") from error


def _read_bin(path):
    try:
        import torch
    except ImportError as error:
        raise UserError(f"{path} is torch's own format: install torch, or have it saved as safetensors") from error
    size = path.stat().st_size
    with contextlib.suppress(zipfile.BadZipFile, OSError, ValueError), zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > size:  # torch compresses nothing
            raise UserError(f"{path} is damaged or no file of torch's: it claims to hold more than its {size:,} bytes")
    try:
        # Only tensors and plain containers; a pickle that requests anything else is refused before it runs.
        with warnings.catch_warnings(action="ignore"):  # about pickles that the next lines refuse
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "unsupported" in str(error).lower():
            raise UserError(
                f"{path} holds more than tensors, it could run code: not read; have it saved as safetensors"
            ) from error
        raise UserError(f"{path} is damaged or no file of torch's") from error
    except Exception as error:  # torch passes on whatever its zip and pickle readers raise
        raise UserError(f"{path} is damaged or no file of torch's: {_first_line(error)}") from error
    tensors = _by_name(tensors, path, torch)
    refuse_kinds({name: _strange(x, torch) for name, x in tensors.items() if _strange(x, torch)}, path)
    claimed = sum(x.numel() * x.element_size() for x in tensors.values())
    if claimed > VIEWS * size:
        raise UserError(f"{path}: its tensors claim {claimed:,} bytes, and the file has {size:,}")
    # torch cannot convert bfloat16 to NumPy; float32 represents all of its values.
    plain = {name: (x.float() if x.is_floating_point() else x) for name, x in tensors.items()}
    return {name: x.detach().resolve_neg().numpy() for name, x in plain.items()}


def _by_name(content, path, torch):
    """The content of a .bin, if it is tensors by name."""
    named = isinstance(content, dict) and all(isinstance(name, str) for name in content)
    if named and all(isinstance(x, torch.Tensor) for x in content.values()):
        return content
    inside = [name for name, x in content.items() if isinstance(x, dict)] if named else []
    hint = f"; have {listed(inside, 3)} of it saved as a file of its own" if inside else ""
    raise UserError(f"{path} holds no tensors by name: it is not a model's state_dict{hint}")


def _strange(x, torch):
    """What makes a torch tensor unusable as a weight; '': nothing."""
    if x.is_quantized:
        return f"quantised ({x.dtype})"
    if x.layout != torch.strided:
        return f"sparse ({x.layout})"
    if x.device.type != "cpu":
        return f"without values ({x.device.type})"
    kinds = "float16 bfloat16 float32 float64 bool uint8 uint16 uint32 uint64 int8 int16 int32 int64".split()
    return "" if str(x.dtype).removeprefix("torch.") in kinds else str(x.dtype)


def _first_line(error):
    return cut((str(error) or repr(error)).splitlines()[0], 200)
