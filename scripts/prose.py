"""Say how easily the pages for users read, and refuse what is hard to read.

python scripts/prose.py        # Flesch reading ease of each page; exit code 1 if one is refused

A page is refused if its reading ease (Flesch 1948: 206.835 − 1.015 words per sentence − 84.6
syllables per word) is below 50, if a sentence has more than 40 words, or if it has a phrase of
`BANNED`. Explanation pages are listed, and may be harder. Code and tables are not read. Of the
package the docstrings of public names, the options' help and the messages of errors are read as
three pages more.
"""

import ast
import re
import sys
from collections.abc import Iterator
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
    pages = {str(path.relative_to(ROOT)): sentences(path) for path in users} | in_code()
    faults = []
    for name, said in pages.items():
        ease = reading_ease(said)
        print(f"{ease:5.1f}  {name}")
        faults += [f"{name}: {fault}" for fault in refused(said, ease)]
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
    return split("\n".join(kept))


def in_code() -> dict[str, list[str]]:
    """Sentences of docstrings, of options' help and of errors, in the package."""
    found: dict[str, list[str]] = {
        "docstrings": [],
        "help of options": [],
        "messages of errors": [],
    }
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for page, text in texts(node):
                found[page] += split(text)
    return found


def texts(node: ast.AST) -> Iterator[tuple[str, str]]:
    """What a user may read of a piece of code, and on which page of `in_code`."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
        if not getattr(node, "name", "module").startswith("_"):
            yield "docstrings", described(ast.get_docstring(node) or "")
    elif isinstance(node, ast.keyword) and node.arg == "help":
        yield "help of options", literal(node.value)
    elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        for argument in node.exc.args:
            yield "messages of errors", literal(argument)


def described(docstring: str) -> str:
    """A docstring without its examples, references, drawings and names of parameters."""
    text = re.sub(r"(?ms)^(?:Examples|References)\n-+\n.*?(?=\n\n\w+\n-+\n|\Z)", "", docstring)
    text = re.sub(r"(?ms)^(?:From|References:) .*?(?=\n\n|\Z)", "", text)
    text = re.sub(r"(?m)^(?:\w[\w ,*]* : .*|[A-Z][A-Za-z ]+\n-+|    .*[─│].*)$", "\n", text)
    return re.sub(r"(?m)^    ", "", text)


def literal(node: ast.expr) -> str:
    """A text as it stands in the code; what is put into it is a number."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(literal(part) for part in node.values)
    return "1" if isinstance(node, ast.FormattedValue) else ""


def split(text: str) -> list[str]:
    """Sentences of plain text."""
    text = re.sub(r"`+[^`]*`+", "", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"[*_]", "", text)
    blocks = re.split(r"\n\s*\n|\n(?=- |\d+\. )", text)
    found = [s for block in blocks for s in re.split(r"(?<=[.!?])\s+", " ".join(block.split()))]
    return [s for s in found if words(s)]


if __name__ == "__main__":
    sys.exit(main())
