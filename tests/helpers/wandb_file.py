"""Reads the files that W&B leaves in offline mode: a log in LevelDB's form whose records are protocol buffers."""

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path

import wandb
from wandb.proto import wandb_internal_pb2

_BLOCK, _FULL, _FIRST, _LAST = 32768, 1, 2, 4


@dataclass
class OfflineRun:
    """What one process told W&B; of one run there can be several."""

    run: object = None
    config: dict = field(default_factory=dict)
    summary: dict = field(default_factory=dict)
    history: list = field(default_factory=list)
    metrics: dict = field(default_factory=dict)
    artifacts: list = field(default_factory=list)
    exit_code: int | None = None
    files: Path | None = None

    def table(self, name):
        """Columns and rows of a logged table."""
        entry = next(row[name] for row in self.history if name in row)
        content = json.loads((self.files / entry["path"]).read_text())
        return content["columns"], content["data"]


def _records(path):
    data, position, parts = Path(path).read_bytes(), 7, []
    assert data[:4] == b":W&B"
    while position + 7 <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        parts.append(data[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (_FULL, _LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(b"".join(parts))
            parts = []
            yield record


def _put(tree, item):
    *path, last = list(item.nested_key) or [item.key]
    for name in path:
        if not isinstance(tree.get(name), dict):
            tree[name] = {}
        tree = tree[name]
    tree[last] = json.loads(item.value_json)


def offline_runs(folder):
    """Every offline run below a folder, in order of time."""
    wandb.teardown()  # its service may still be writing
    found = []
    for path in sorted(Path(folder).rglob("offline-run-*/*.wandb"), key=lambda path: path.parent.name):
        one = OfflineRun(files=path.parent / "files")
        for record in _records(path):
            match record.WhichOneof("record_type"):
                case "run":
                    one.run = one.run or record.run
                    for item in record.run.config.update:
                        _put(one.config, item)
                case "config":
                    for item in record.config.update:
                        _put(one.config, item)
                case "summary":
                    for item in record.summary.update:
                        _put(one.summary, item)
                case "history":
                    row = {}
                    for item in record.history.item:
                        _put(row, item)
                    one.history.append(row)
                case "metric":
                    one.metrics[record.metric.name or record.metric.glob_name] = record.metric
                case "artifact":
                    one.artifacts.append(record.artifact)
                case "request" if record.request.HasField("log_artifact"):
                    one.artifacts.append(record.request.log_artifact.artifact)
                case "exit":
                    one.exit_code = record.exit.exit_code
        found.append(one)
    return found
