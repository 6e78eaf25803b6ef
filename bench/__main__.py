"""``make bench``: every part in a process of its own, one JSON file of all figures."""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

PARTS = {
    "extract": [],
    "prepare": [],
    "encode": [],
    "stage3": ["--rounds", "3", "--threads", "1"],
    "rank_n_contrast": ["--rounds", "3"],
    "train": [],
    "text": [],
    "scale": [],
    "startup": [],
    "onnx": ["--rounds", "5"],
    "processes": ["--clips", "30"],
}
"""Module to the options that keep all of them together to some minutes."""


def main() -> None:
    """Run the parts and merge their figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"Some of {', '.join(PARTS)}.")
    parser.add_argument("--json", default="bench.json")
    args = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for part in args.parts:
            print(f"\n== {part}", flush=True)
            output = Path(folder, f"{part}.json")
            command = [sys.executable, "-m", f"bench.{part}", *PARTS[part], "--json", str(output)]
            status = subprocess.run(command).returncode
            if status or not output.exists():
                failed.append(part)
            else:
                figures |= json.loads(output.read_text())
    Path(args.json).write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
    print(f"\n{len(figures)} figures of {platform.machine()}, Python {platform.python_version()}, in {args.json}")
    if failed:
        sys.exit(f"parts that failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
