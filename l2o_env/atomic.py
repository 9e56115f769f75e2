"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path in the folder of ``path``, and renames it to ``path`` when the block ends well.

    Whatever was at ``path`` stays as it was until the new file is complete, and stays for good if the block
    raises (a full disk, Ctrl-C): the temporary file is removed then. The folder of ``path`` must exist.

    Args:
        path: Where the finished file is to be.

    Yields:
        A path with the same suffix as ``path``; the block writes the file there.

    Raises:
        OSError: If the folder is not there or not writable, or the block's own writing fails.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=f".tmp{path.suffix}", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp and safetensors make private files; what replaces an ordinary file has the ordinary rights.
        temporary.chmod(0o666 & ~_umask())
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
