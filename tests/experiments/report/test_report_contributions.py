"""Contributions on a trained chain agree with scoring each clip from its file."""

import numpy as np
import pytest

from apt_lightning.experiments.report.contributions import modality_contributions
from apt_lightning.experiments.report.page import read_runs, write_report
from apt_lightning.experiments.report.run import Run


def test_average_shapley_values_equal_those_of_single_clips(chain, clips_dir):
    from apt_lightning.data.collection.annotations import read_transcripts
    from apt_lightning.data.media.extract import extract_clip
    from apt_lightning.data.media.extraction import ExtractionSettings
    from apt_lightning.stages.scorer import Scorer

    run = Run.read(chain, "chain")
    found = modality_contributions(run)
    table = run.results.systems[run.final][0]
    assert found.clips == len(table)
    scorer = Scorer(str(chain / "seed42" / "stage4" / "best.ckpt"))
    transcripts = read_transcripts(clips_dir / "transcription_test.pkl")
    sizes = []
    for name in table.clips:
        extraction = extract_clip(next(clips_dir.rglob(name)), name, ExtractionSettings())
        values = scorer.shapley(scorer.features(extraction, transcripts[name]))
        sizes.append(np.abs(np.stack([values[m] for m in ("audio", "visual", "text")], axis=-1)))
    assert found.modalities == pytest.approx(np.mean(sizes, axis=0), abs=2e-4)
    assert found.modalities.max() > 1e-3
    assert set(found.families) >= {"pitch", "loudness", "formants", "spectrum"}
    assert any(np.abs(rises).max() > 0 for rises in found.families.values())


def test_report_of_a_trained_chain_holds_them(chain, tmp_path):
    text = write_report(read_runs([chain]), tmp_path / "chain.html").read_text(encoding="utf-8")
    assert "Mean absolute Shapley values" in text and "eGeMAPS families" in text
    assert "Not available" not in text
