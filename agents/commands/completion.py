"""What completes ``l2o`` in a shell: tyro's own scripts know one command, without others beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def completion(options: Mapping[str, Sequence[str]]) -> str:
    """A script for bash, and for zsh after ``bashcompinit``.

    Args:
        options: Options of each command, such as ``--seed``; values are completed as names of files.
    """
    cases = [f'    {name}) words="{" ".join((*names, "--help"))}" ;;' for name, names in options.items()]
    return "\n".join([
        "_l2o() {",
        '  local word="${COMP_WORDS[COMP_CWORD]}" words',
        '  case "${COMP_WORDS[1]}" in', *cases, "  esac",
        "  COMPREPLY=()",
        f'  if [[ $COMP_CWORD -eq 1 ]]; then words="{" ".join((*options, "--help", "--version"))}"',
        '  elif [[ "$word" != -* ]]; then return; fi',
        '  COMPREPLY=($(compgen -W "$words" -- "$word"))',
        "}",
        "complete -o default -F _l2o l2o",
    ])  # fmt: skip
