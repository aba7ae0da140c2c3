"""Files of named tensors: safetensors, whole or in shards, and torch's older .bin, read without running anything."""

import json
import pickle
import warnings
from pathlib import Path

import safetensors

from ssl_jax.errors import UserError

FILES = ("model.safetensors", "pytorch_model.bin")  # looked for in this order, each also as shards with an index


def read(folder):
    """All tensors of a model's folder: name -> NumPy array, as stored.

    Raises:
      UserError: there are none, a file is damaged or missing, or a .bin holds anything but tensors.
    """
    for name in FILES:
        if (Path(folder) / name).is_file():
            return read_file(Path(folder) / name)
        if (Path(folder) / f"{name}.index.json").is_file():
            return _read_shards(Path(folder) / f"{name}.index.json")
    raise UserError(f"{folder} holds no weights: there is neither {' nor '.join(FILES)}, whole or in shards")


def _read_shards(index):
    try:
        parts = json.loads(index.read_text())["weight_map"]
        files = sorted({Path(name).name for name in parts.values()})  # beside the index and nowhere else
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index} is damaged: it does not say which tensor is in which file") from error
    tensors = {}
    for name in files:
        if not (index.parent / name).is_file():
            raise UserError(f"{index.parent / name} is missing, which {index.name} names")
        tensors |= read_file(index.parent / name)
    lost = sorted(parts.keys() - tensors.keys())
    if lost:
        raise UserError(f"{index.parent / parts[lost[0]]} has no tensor {lost[0]}, which {index.name} says it has")
    return tensors


def read_file(path):
    """The tensors of one file, by the kind that its name ends with; errors as `read`."""
    return _read_bin(path) if path.suffix == ".bin" else _read_safetensors(path)


def _read_safetensors(path):
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except safetensors.SafetensorError as error:
        raise UserError(f"{path} is damaged or no safetensors file: {error}".splitlines()[0]) from error


def _read_bin(path):
    try:
        import torch
    except ImportError as error:
        raise UserError(f"{path} is torch's own format: install torch, or have it saved as safetensors") from error
    try:
        # Tensors and plain containers alone; a pickle that asks for anything else is refused before it runs.
        with warnings.catch_warnings(action="ignore"):  # about pickles that the next lines refuse
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "unsupported" in str(error).lower():
            raise UserError(
                f"{path} holds more than tensors, it could run code: not read; have it saved as safetensors"
            ) from error
        raise UserError(f"{path} is damaged or no file of torch's") from error
    except Exception as error:  # torch raises what its readers of zip files and pickles raise
        told = (str(error) or repr(error)).splitlines()[0][:200]
        raise UserError(f"{path} is damaged or no file of torch's: {told}") from error
    named = isinstance(tensors, dict) and all(isinstance(x, torch.Tensor) for x in tensors.values())
    if not named:
        raise UserError(f"{path} holds no tensors by name: it is not a model's state_dict")
    # NumPy has no bfloat16; all of its numbers are float32's, too.
    return {name: (x.float() if x.is_floating_point() else x).numpy() for name, x in tensors.items()}
