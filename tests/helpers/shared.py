"""What all workers of a test session read, made by the first that needs it."""

import os
import shutil

from apt_lightning.common.files import locked


def made_once(tmp_path_factory, name, make):
    """A folder that ``make`` filled, once a session, whichever worker asks first; the others wait.

    A worker that dies or is interrupted gives up the lock, and what it left half made is made again. Nobody may change
    what is in there: whoever has to takes a copy.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # that of the session, in which every worker has its own
    folder, whole = base / "shared" / name, base / "shared" / f"{name}.whole"
    with locked(base / "shared" / f"{name}.lock", blocking=True):
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            whole.touch()
    return folder


def copy_of(run, folder):
    """A copy of a run, which shares its checkpoints: these are large, and only ever replaced whole.

    Cached features stay behind, since another worker may be adding some.
    """

    def copy(source, target):
        (os.link if source.endswith(".ckpt") else shutil.copy2)(source, target)

    return shutil.copytree(run, folder, copy_function=copy, ignore=shutil.ignore_patterns("frozen"))
