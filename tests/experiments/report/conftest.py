"""A run that was not trained, and its page."""

import pytest
from fake_run import make_run, make_store

from apt_lightning.experiments.report.page import read_runs, write_report


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("report") / "data")


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "one", store)


@pytest.fixture(scope="module")
def text(run):
    return write_report(read_runs([run])).read_text(encoding="utf-8")
