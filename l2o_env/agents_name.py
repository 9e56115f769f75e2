"""Under which name the package of agents is found that belongs to this one.

Installed, it is ``l2o_agents``: other packages are called `agents`, too. In a checkout its folder is ``agents``.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

INSTALLED, FOLDER = "l2o_agents", "agents"


def agents_name() -> str:
    """The name to import it by.

    Raises:
        ModuleNotFoundError: If it is not found; the message says what is in the way, if something is.
    """
    beside = Path(__file__).resolve().parents[1]
    if (beside / INSTALLED).is_dir():  # as a wheel has it
        return INSTALLED
    loaded = sys.modules.get(FOLDER)
    if loaded is not None and _is_at(getattr(loaded, "__path__", ()), beside / FOLDER):
        return FOLDER
    found = {name: _places(name) for name in (INSTALLED, FOLDER)}
    for name, places in found.items():
        if _is_at(places, beside / FOLDER):
            return name
    others = [place for places in found.values() for place in places]
    more = f"; {others[0]} is another package of that name" if others else ""
    raise ModuleNotFoundError(
        f"The agents of l2o-env in {beside / FOLDER} are not found{more}. Install it with pip install -e {beside}."
    )


def _places(name: str) -> list[str]:
    spec = find_spec(name)
    return [] if spec is None else list(spec.submodule_search_locations or ())


def _is_at(places: object, folder: Path) -> bool:
    return any(Path(str(place)).resolve() == folder for place in places)  # type: ignore[attr-defined]
