"""The commented tree of docs/architecture.md, made from docstrings; run this file to write it anew."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
START, END = "<!-- tree: python tests/helpers/tree.py -->\n```text\n", "```\n<!-- end of tree -->\n"
WIDTH = 44


def told(file):
    """First line of a module's docstring, without its full stop."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.split("\n")[0].removesuffix(".")


def branch(folder, depth=0):
    """Lines of a folder: its files, then its folders."""
    indent = "  " * depth
    about = told(folder / "__init__.py") if (folder / "__init__.py").exists() else ""
    lines = [f"{f'{indent}{folder.name}/':{WIDTH}} {about}".rstrip()]
    for file in sorted(folder.glob("*.py")):
        if file.name != "__init__.py":
            lines.append(f"{f'{indent}  {file.name}':{WIDTH}} {told(file)}".rstrip())
    for inner in sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()):
        if inner.name not in ("__pycache__",):
            lines += branch(inner, depth + 1)
    return lines


def tree():
    """Package, benchmarks, studies and examples."""
    return "\n".join(line for name in ("apt_lightning", "bench", "studies", "examples") for line in branch(ROOT / name))


def page():
    """The page with today's tree."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    return before + START + tree() + "\n" + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
