"""Packages that only some of what is here needs: they are extras of the installation."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from l2o_env.errors import ConfigError, one_line


class MissingExtraError(ConfigError, ImportError):
    """A package of an extra cannot be imported; the message says what needs it, and what to type."""


def require(package: str, extra: str, what: str) -> ModuleType:
    """Imports a package that not every installation has.

    Args:
        package: As it is imported, such as ``"sb3_contrib"``.
        extra: The extra of this package that installs it.
        what: What needs it, in the words of whoever asked for that, such as ``"l2o attention"``.

    Raises:
        MissingExtraError: If it is not there, or does not go with what else is installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name == package
        problem = "is not installed" if absent else f"cannot be imported ({one_line(error)})"
        install = f'"l2o-env[{extra}]"'
        if not isinstance(error, ModuleNotFoundError):  # it is there, so that the extra would install nothing
            install = f"--upgrade {package.partition('.')[0].replace('_', '-')}"
        raise MissingExtraError(f"{package} {problem}; {what} needs it: pip install {install}.") from error
