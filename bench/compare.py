"""Two results of ``make bench`` side by side."""

import json
import sys
from pathlib import Path


def main() -> None:
    """Print every figure of both files and the ratio new over old."""
    old, new = (json.loads(Path(path).read_text()) for path in sys.argv[1:3])
    print(f"{'':<44}{'old':>12}{'new':>12}{'new/old':>9}")
    for name in sorted(old.keys() | new.keys()):
        for key in sorted(old.get(name, {}).keys() | new.get(name, {}).keys()):
            a, b = old.get(name, {}).get(key), new.get(name, {}).get(key)
            cells = ["-" if value is None else f"{value:.4g}" for value in (a, b)]
            ratio = f"{b / a:.2f}" if a and b else "-"
            print(f"{name + ' ' + key:<44}{cells[0]:>12}{cells[1]:>12}{ratio:>9}")


if __name__ == "__main__":
    main()
