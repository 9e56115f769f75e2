"""The documents, and the code in them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language, such as ``"sh"``."""
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)
