"""The notebook of the examples, made from the three scripts; run this file to write it anew."""

import json
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = ("train", "own_embeddings", "score")
FILE = EXAMPLES / "tour.ipynb"


def notebook():
    """Text of the notebook: of each script its docstring, and for each `# %%` a line of text and a cell of code."""
    cells = []

    def add(kind, text):
        code = {"execution_count": None, "outputs": []} if kind == "code" else {}
        cells.append({"cell_type": kind, "id": f"c{len(cells)}", "metadata": {}, "source": text, **code})

    add("markdown", "# apt-lightning in one notebook\n\nThe three scripts of this folder, one after the other.")
    for name in SCRIPTS:
        _, told, rest = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8").split('"""', 2)
        add("markdown", f"## {told.strip()}")
        for part in rest.split("# %% ")[1:]:
            head, _, body = part.partition("\n")
            add("markdown", head)
            add("code", body.strip())
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    book = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(book, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(notebook(), encoding="utf-8")
