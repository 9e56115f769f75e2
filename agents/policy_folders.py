"""Where policies are: the folders of a run that hold them, and what the run says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from l2o_env.errors import ConfigError, reading, unknown_name
from l2o_env.results.run_folder import BEST_POLICY, CONFIG_FILE, POLICY
from l2o_env.safe_json import as_object, read_object
from l2o_env.training.policies import located, names

from .opponents.rate_setter import SCHEDULE_FILE
from .policy_files import DESCRIPTION

Selection = Literal["last", "best"]
"""Which of the policies of a run folder is meant."""
MEND = "copy it again, or train anew."
"""What to do about damaged files of a run."""
POLICY_FOLDERS: dict[Selection, str] = {"last": POLICY, "best": BEST_POLICY}
"""Folders of a run that hold its policies: the one that training ended with, and the one of its checkpoints with the
highest V on the held-out synthetic images of the training pairs."""


def policy_folder(folder: str | Path, selection: Selection = "last") -> Path:
    """The folder that holds the agent's files: of a run folder, of such a folder itself, or of a policy by its name.

    Raises:
        ConfigError: If there is none.
    """
    if selection not in POLICY_FOLDERS:
        raise unknown_name("selection", selection, get_args(Selection))
    folder = located(folder)
    if not folder.is_dir():
        raise ConfigError(
            f"There is no folder {folder}; give the folder of a run, or of a saved policy, or the name of one that "
            f"comes along: {', '.join(names())}."
        )
    for candidate in (folder, folder / POLICY_FOLDERS[selection]):
        if (candidate / DESCRIPTION).is_file() or (candidate / SCHEDULE_FILE).is_file():
            return candidate
    others = [name for name, sub in POLICY_FOLDERS.items() if (folder / sub / DESCRIPTION).is_file()]
    hint = " Did the run end before its first update?"
    if others:
        hint = f" It has the selection {others[0]!r}: name {folder / POLICY_FOLDERS[others[0]]}."
    raise ConfigError(
        f"{folder} holds no policy: there is neither {POLICY_FOLDERS[selection]}/{DESCRIPTION} nor {DESCRIPTION} nor "
        f"{SCHEDULE_FILE}.{hint}"
    )


def trained_on(folder: str | Path) -> tuple[str, ...]:
    """Names of the pairs that the policy of a run folder was trained on, as its ``config.json`` says.

    Args:
        folder: A run folder, the policy folder inside one, or the name of a policy that comes along.

    Returns:
        The names; empty where no run folder is around the policy.

    Raises:
        ConfigError: If ``config.json`` is damaged.
    """
    folder = located(folder)
    for candidate in (folder, folder.parent):
        if (candidate / CONFIG_FILE).is_file():
            config = read_object(candidate / CONFIG_FILE, MEND)
            with reading(candidate / CONFIG_FILE, MEND):
                names = config.get("trained_on", as_object(config.get("environment", {})).get("pairs", ()))
                if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                    raise ValueError("it holds no list of the pairs of the training")
                return tuple(names)
    return ()
