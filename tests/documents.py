"""The Markdown documents of the project, and what is in them."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def documents() -> list[Path]:
    """Return every Markdown file of the tree; in a copy without git, every one that is there."""
    if not (ROOT / ".git").exists():
        return sorted(ROOT.rglob("*.md"))
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted(path for path in {ROOT / name for name in names} if path.is_file())


def code_blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def without_code_blocks(text: str) -> str:
    """Return a document without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def links(text: str) -> list[str]:
    """Return the targets of a document's links and images, in order."""
    prose = re.sub(r"`[^`]*`", "", without_code_blocks(text))
    return re.findall(r"\]\(([^)\s]+)\)", prose)


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub makes of a document's headings."""
    counts: dict[str, int] = {}
    for heading in re.findall(r"^#+ +(.+?) *$", without_code_blocks(text), flags=re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        counts[anchor] = counts.get(anchor, -1) + 1
        if counts[anchor]:
            counts[f"{anchor}-{counts[anchor]}"] = 0
    return set(counts)
