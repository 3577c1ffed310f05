"""How much code there is, in Python tokens: no comments, no docstrings, and layout does not count.

    python benchmarks/tokens.py --before 2fed584

prints the parts that became one engine, and the whole package, at the revision and in the working
tree. Strings that stand side by side count as one, so that how a message is cut into lines makes no
difference.
"""

import ast
import io
import subprocess
import tokenize
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).parents[1]
SOURCE = "src/tutelage"
PARTS = "orderings.py starts.py stream.py theory/sweep.py curves.py scale/ task_files.py"
BEFORE = [*PARTS.split(), "lab/students.py", "kernels/spec.py"]  # that were to be merged
LAYOUT = {
    tokenize.NEWLINE,
    tokenize.NL,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.COMMENT,
    tokenize.ENDMARKER,
}
STRINGS = {"STRING", "FSTRING_START", "FSTRING_MIDDLE", "FSTRING_END"}


def count(source: str) -> int:
    """Count the tokens of a module."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    docstrings = {
        node.body[0].lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, documented) and ast.get_docstring(node) is not None
    }
    found, after_string = 0, False
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        string = tokenize.tok_name[token.type] in STRINGS
        skipped = token.type in LAYOUT or (string and token.start[0] in docstrings)
        if not skipped:
            found += not (string and after_string)
            after_string = string
    return found


def sources(revision: str | None) -> dict[str, str]:
    """Every module of the package by its path, at a revision or as it lies here."""
    if revision is None:
        return {
            str(p.relative_to(ROOT / SOURCE)): p.read_text() for p in (ROOT / SOURCE).rglob("*.py")
        }

    def git(*command: str) -> str:
        return subprocess.run(
            ["git", *command], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout

    paths = git("ls-tree", "-r", "--name-only", revision, SOURCE).split()
    return {
        p.removeprefix(f"{SOURCE}/"): git("show", f"{revision}:{p}")
        for p in paths
        if p.endswith(".py")
    }


def main(
    before: Annotated[str, typer.Option(help="A revision.")] = "2fed584",
    parts: Annotated[
        str, typer.Option(help="Files and folders of the package that now do what those did.")
    ] = " ".join(BEFORE),
) -> None:
    then, now = sources(before), sources(None)
    merged = [
        sum(count(text) for path, text in found.items() if path.startswith(tuple(chosen)))
        for found, chosen in ((then, BEFORE), (now, parts.split()))
    ]
    whole = [sum(map(count, found.values())) for found in (then, now)]
    for name, (old, new) in (("merged parts", merged), ("whole package", whole)):
        print(f"{name}: {old:,} tokens at {before}, {new:,} now ({new / old:.2f} x)")
    longest = max(max(map(len, text.splitlines()), default=0) for text in now.values())
    print(f"longest line of the package: {longest} characters")


if __name__ == "__main__":
    typer.run(main)
