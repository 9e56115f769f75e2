"""Trained proxies on disk: keyed by their settings, verified by checksum, written atomically, built once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from l2o_env.atomic import atomic_path
from l2o_env.errors import brief
from l2o_env.safe_tensors import read_safetensors, require_finite

CACHE_VARIABLE = "L2O_ENV_CACHE"
TELL_SECONDS, WAIT_SECONDS = 10.0, 1800.0
"""How long another process that builds the same is waited for in silence, and then at most."""
Tensors = dict[str, Tensor]
_log = logging.getLogger("l2o_env")
_warned_of: set[str] = set()


def cache_folder() -> Path:
    """The folder of the environment variable ``L2O_ENV_CACHE``, else the user's cache folder for ``l2o-env``."""
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE]).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("l2o-env"))


def cache_path(kind: str, settings: Mapping[str, object]) -> Path:
    """Where tensors that ``settings`` determine are kept: ``<kind>-<hash of the settings>.safetensors``.

    Args:
        kind: What it is, such as ``"proxy"``.
        settings: All that determines the tensors, as JSON values.
    """
    key = hashlib.sha256(_as_json(settings).encode()).hexdigest()
    return cache_folder() / f"{kind}-{key[:32]}.safetensors"


def cached(
    kind: str, settings: Mapping[str, object], template: Mapping[str, Tensor], build: Callable[[], Tensors]
) -> Tensors:
    """Loads tensors from the cache, or builds and keeps them.

    A damaged file is rebuilt with a warning. Processes that want the same tensors at once wait for the first, and then
    load what it built; if it does not come to an end, they build them too, without keeping them. Where the cache cannot
    be written, the tensors are built and not kept.

    Args:
        kind: What it is; the first part of the file name.
        settings: All that determines the tensors, as JSON values.
        template: Tensors of the names, shapes and types to expect.
        build: Makes the tensors.

    Returns:
        The tensors by name, on the CPU.
    """
    path = cache_path(kind, settings)
    try:
        return _read(path, settings, template)
    except (OSError, _DamagedError):
        pass  # absent, or damaged: looked at again under the lock, where nobody else is mending it
    lock = FileLock(f"{path}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        waited = _acquire(lock, path)
    except OSError as error:
        _warn_unwritable(path.parent, error)
        return build()
    if not waited:
        return build()
    try:
        return _read_or_build(path, settings, template, build)
    finally:
        lock.release()


def _acquire(lock: FileLock, path: Path) -> bool:
    """Waits until nobody else builds the file, and says so; False if that takes too long, as where one is stopped."""
    try:
        lock.acquire(timeout=TELL_SECONDS)
        return True
    except Timeout:
        _log.warning("Waiting for another process, which builds %s; after %d s it is built here.", path, WAIT_SECONDS)
    try:
        lock.acquire(timeout=WAIT_SECONDS)
        return True
    except Timeout:
        _log.warning("The other process did not come to an end (is it stopped?): building here, without keeping it.")
        return False


class _DamagedError(Exception):
    """What a cache file holds is not what was written there."""


def _read_or_build(
    path: Path, settings: Mapping[str, object], template: Mapping[str, Tensor], build: Callable[[], Tensors]
) -> Tensors:
    try:
        return _read(path, settings, template)
    except FileNotFoundError:
        pass
    except (OSError, _DamagedError) as error:
        warnings.warn(f"The cache file {path} is damaged ({error}); it is built anew.", RuntimeWarning, stacklevel=4)
    tensors = build()
    try:
        _write(path, settings, tensors)
    except OSError as error:
        _warn_unwritable(path.parent, error)
    return tensors


def _read(path: Path, settings: Mapping[str, object], template: Mapping[str, Tensor]) -> Tensors:
    """Reads and verifies a file.

    Raises:
        FileNotFoundError: If there is none.
        _DamagedError: If it cannot be read, or is not what ``template`` and its own checksum say.
    """
    from safetensors import SafetensorError

    try:
        tensors, metadata = read_safetensors(path)
    except (SafetensorError, ValueError) as error:
        raise _DamagedError(f"not a readable safetensors file: {brief(str(error), 200)}") from error
    if metadata.get("sha256") != checksum(tensors):
        raise _DamagedError("its checksum does not fit its content")
    if metadata.get("settings") != _as_json(settings):
        raise _DamagedError("it was written for other settings")
    expected = {name: (tuple(t.shape), t.dtype) for name, t in template.items()}
    if {name: (tuple(t.shape), t.dtype) for name, t in tensors.items()} != expected:
        raise _DamagedError("names, shapes or types of its tensors are not those of the network")
    try:
        require_finite(tensors)
    except ValueError as error:
        raise _DamagedError(str(error)) from error
    return tensors


def _write(path: Path, settings: Mapping[str, object], tensors: Tensors) -> None:
    """Writes a file atomically; raises ``OSError`` where that fails."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    metadata = {"sha256": checksum(tensors), "settings": _as_json(settings)}
    try:
        with atomic_path(path) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata)
    except SafetensorError as error:  # how safetensors reports a full disk
        raise OSError(str(error)) from error


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _as_json(settings: Mapping[str, object]) -> str:
    return json.dumps(settings, sort_keys=True, separators=(",", ":"))


def _warn_unwritable(folder: Path, error: OSError) -> None:
    """Warns once per folder and process."""
    if str(folder) in _warned_of:
        return
    _warned_of.add(str(folder))
    warnings.warn(
        f"Nothing can be kept in the cache folder {folder} ({error}); proxies are trained again in every process. "
        f"Set {CACHE_VARIABLE} to a writable folder.",
        RuntimeWarning,
        stacklevel=5,
    )
