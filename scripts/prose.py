"""Say how easily the pages for users read, and refuse what is hard to read.

python scripts/prose.py        # Flesch reading ease of each page; exit code 1 if one is refused

A page is refused if its reading ease (Flesch 1948: 206.835 − 1.015 words per sentence − 84.6
syllables per word) is below 50, if a sentence has more than 40 words, or if it has a phrase of
`BANNED`. Explanation pages are listed, and may be harder. Code and tables are not read.
"""

import re
import sys
from pathlib import Path
from textwrap import shorten

ROOT = Path(__file__).parents[1]
FOR_USERS = (
    "README.md", "docs/index.md", "docs/glossary.md", "docs/trust.md", "docs/students.md",
    "docs/scale.md", "docs/costs.md", "docs/kernels.md", "docs/evidence.md", "docs/start/*.md",
    "docs/how-to/*.md", "docs/data.md",
    "docs/tutorials/*.py",
)  # fmt: skip
EXPLAIN = ("docs/*.md",)
LEAST, LONGEST = 50.0, 40
BANNED = (
    r"\butili[sz]e", r"\bleverag", r"\bseamless", r"\bpowerful\b", r"\bcutting[- ]edge",
    r"\bsimply\b", r"\bobviously\b", r"\bit is worth noting", r"\bin order to\b", r"\bdelve",
    r"\btake[sn]? .{0,40}in (?:its|their) stride", r"\bas such\b",
)  # fmt: skip


def main() -> int:
    """Print a line for each page, and what is refused."""
    users = [path for pattern in FOR_USERS for path in sorted(ROOT.glob(pattern))]
    faults = []
    for path in users:
        said = sentences(path)
        ease = reading_ease(said)
        print(f"{ease:5.1f}  {path.relative_to(ROOT)}")
        faults += [f"{path.relative_to(ROOT)}: {fault}" for fault in refused(said, ease)]
    for path in sorted({p for pattern in EXPLAIN for p in ROOT.glob(pattern)} - set(users)):
        print(f"{reading_ease(sentences(path)):5.1f}  {path.relative_to(ROOT)} (explanation)")
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def refused(said: list[str], ease: float) -> list[str]:
    """What is wrong with a page."""
    found = [] if ease >= LEAST else [f"a reading ease of {ease:.0f}; expected {LEAST:.0f} or more"]
    for sentence in said:
        count = len(words(sentence))
        if count > LONGEST:
            found.append(f"a sentence of {count} words: {shorten(sentence, 80)}")
        found += [
            f"“{match[0]}” in: {shorten(sentence, 80)}"
            for pattern in BANNED
            if (match := re.search(pattern, sentence, re.IGNORECASE))
        ]
    return found


def reading_ease(said: list[str]) -> float:
    """Flesch's reading ease of a page."""
    all_words = [word for sentence in said for word in words(sentence)]
    if not all_words:
        return 100.0
    syllables = sum(map(syllables_of, all_words))
    return 206.835 - 1.015 * len(all_words) / len(said) - 84.6 * syllables / len(all_words)


def syllables_of(word: str) -> int:
    """Groups of vowels, without a silent e at the end."""
    plain = re.sub(r"(?<=[^aeiouyl])(?:es?|ed)$", "", word.lower())
    return max(1, len(re.findall(r"[aeiouy]+", plain)))


def words(sentence: str) -> list[str]:
    """Words, without numbers and signs."""
    return re.findall(r"[A-Za-z][A-Za-z'’-]*", sentence)


def sentences(path: Path) -> list[str]:
    """A page's sentences, without its code, tables, pictures and headings."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        cells = re.split(r"(?m)^# %%", text)
        text = "\n\n".join(
            re.sub(r"(?m)^# ?", "", cell.partition("\n")[2])
            for cell in cells
            if cell.startswith(" [markdown]")
        )
    text = re.sub(r"(?ms)^```.*?^```", "", text)
    kept = [
        line for line in text.splitlines() if not re.match(r"    \S|\s*\||#|!\[|:::|    ", line)
    ]
    text = re.sub(r"`[^`]*`", "", "\n".join(kept))
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"[*_]", "", text)
    blocks = re.split(r"\n\s*\n|\n(?=- |\d+\. )", text)
    found = [s for block in blocks for s in re.split(r"(?<=[.!?])\s+", " ".join(block.split()))]
    return [s for s in found if words(s)]


if __name__ == "__main__":
    sys.exit(main())
