"""The page holds every section, asks for nothing on the network, and says what is missing."""

import base64
import csv
import html
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from fake_run import make_run, make_store
from report_page import Page

from apt_lightning.cli import main
from apt_lightning.evaluation.predictions import read_predictions
from apt_lightning.evaluation.tables import number
from apt_lightning.experiments.report.blocks import Forest, Mark
from apt_lightning.experiments.report.charts import SCHEMES, picture
from apt_lightning.experiments.report.page import read_runs, write_report

SECTIONS = [
    "results",
    "comparison",
    "sources",
    "extremes",
    "quality",
    "ablations",
    "errors",
    "calibration",
    "distributions",
    "fairness",
    "intervals",
    "clips",
    "contributions",
    "embeddings",
    "data",
    "curves",
    "settings",
    "card",
]

CHROME = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=8000",
    "--dump-dom",
]


@pytest.fixture(scope="module")
def seeds(store, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "seeds", store, seeds=(1, 2, 3), seed=7)


@pytest.fixture(scope="module")
def both(run, seeds, tmp_path_factory):
    return write_report(read_runs([run, seeds]), tmp_path_factory.mktemp("page") / "both.html").read_text(
        encoding="utf-8"
    )


def test_every_section_is_there_and_linked(text):
    page = Page(text)
    assert list(page.text) == SECTIONS
    assert [link[1:] for link in page.links if link.startswith("#")][2 : len(SECTIONS) + 2] == SECTIONS
    assert all(page.text[name].strip() for name in SECTIONS)
    assert len(set(page.ids)) == len(page.ids)


@pytest.mark.parametrize("which", ["text", "both"])
def test_page_requests_nothing_and_says_no_nan(which, request):
    text = request.getfixturevalue(which)
    page = Page(text)
    assert all(load.startswith(("#", "data:")) for load in page.loads)
    assert "url(http" not in text and "@import" not in text and "<script" not in text
    assert all(link.startswith(("#", "https://arxiv.org/", "https://eur-lex.europa.eu/")) for link in page.links)
    assert not re.search(r"\b(nan|NaN|inf)\b", text)
    assert all(page.pictures) and len(set(page.pictures)) == len(page.pictures) > 30


@pytest.mark.parametrize("which", ["text", "both"])
def test_every_table_says_its_clips_and_has_heads(which, request):
    page = Page(request.getfixturevalue(which))
    for section, label, rows in page.tables:
        assert re.search(r"\d+ (test |of .* )?clips|queries", page.captions[label]), (section, page.captions[label])
        assert len({len(row) for row in rows}) == 1


def test_several_seeds_are_means_with_deviations(seeds, both):
    values = []
    for folder in sorted(seeds.glob("seed*")):
        table = read_predictions(folder / "stage4" / "predictions_test.csv")
        values.append(1 - np.abs(table.predicted - table.true).mean())
    page = Page(both)
    assert page.table("results")["with embeddings (stage 4)"][1] == number(float(np.mean(values)))
    assert f"± {number(float(np.std(values, ddof=1)))}" in both
    assert "1 and 3 seeds" in page.text["comparison"]  # the runs are compared too


def test_tables_can_be_downloaded(text):
    page = Page(text)
    assert len(page.files) == len(page.tables)
    for _, label, rows in page.tables:
        kind, _, content = page.files[f"{label}.csv"].partition("base64,")
        assert kind.startswith("data:text/csv")
        read = list(csv.reader(io.StringIO(base64.b64decode(content).decode())))
        assert [row[0] for row in read] == [row[0] for row in rows]
        assert all(
            own.startswith(cell)
            for line, row in zip(read, rows, strict=True)
            for own, cell in zip(line, row, strict=True)
        )


def test_page_names_no_folder_of_the_machine(run, seeds, store, text, both):
    (run / "seed42" / "stage2" / "config.yaml").write_text(f"run_dir: {run}/seed42/stage2\nstore: {store}\n")
    page = write_report(read_runs([run]), run / "again.html").read_text(encoding="utf-8")
    assert "run_dir: seed42/stage2" in page and "store: …/store" in page
    for content in (page, both):
        assert not any(str(path.parent) in content for path in (run, seeds, store))


def test_drawn_clips_are_called_so_on_top_and_beside_the_groups(run, store, tmp_path, text):
    assert "Drawn, not people" not in text
    manifest = store / "manifest.json"
    before = manifest.read_text()
    try:
        manifest.write_text(json.dumps(json.loads(before) | {"synthetic": True}))
        page = write_report(read_runs([run]), tmp_path / "drawn.html").read_text(encoding="utf-8")
    finally:
        manifest.write_text(before)
    assert page.index("Drawn, not people") < page.index("<main>")
    assert "drawn faces" in Page(page).text["fairness"]


def luminance(colour):
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)  # WCAG 2, relative luminance
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize(("scheme", "place"), [("light", 0), ("dark", 1)])
def test_marks_have_contrast(scheme, place, text):
    values = {name: re.findall(rf"--{name}: (#\w{{6}})", text)[place] for name in ("page", "card", "soft", "ink")}
    marks = [*SCHEMES[scheme].values(), values["soft"], values["ink"]]
    for ground in (values["page"], values["card"]):
        for mark in marks:
            low, high = sorted((luminance(mark), luminance(ground)))
            assert (high + 0.05) / (low + 0.05) >= 3, (mark, ground)


def test_forest_places_marks_along_its_axis():
    marks = [Mark("a", 0.0, -1.0, 1.0), Mark("b", 2.0, np.nan, np.nan), Mark("c", np.nan, np.nan, np.nan)]
    plot = Forest("", "", "", marks, "", reference=0.0)
    places = [row[1:] for row in plot.rows]
    low, high = -1 - 0.09, 2 + 0.09
    assert places[0] == (".000", *(round(100 * (v - low) / (high - low), 2) for v in (0, -1, 1)))
    assert places[1][1] == places[1][2] == places[1][3] and places[2][0] == "undefined"
    assert [text for _, text in plot.ticks] == ["-1", "0", "1", "2"]


def test_missing_parts_say_so(tmp_path, capsys):
    store = make_store(tmp_path / "data", seed=3, demographics=False)
    run = make_run(tmp_path / "part", store, units=("stage1_audio", "stage1_text"))
    (run / "seed42" / "stage1_text" / "predictions_validation.csv").unlink()
    for file in run.rglob("metrics.csv"):
        file.unlink()
    output = tmp_path / "out.html"
    assert main(["report", str(run), "--output", str(output)]) == 0
    assert f"report: {output}" in capsys.readouterr().out
    page = Page(output.read_text(encoding="utf-8"))
    assert list(page.text) == SECTIONS
    for section, words in {
        "comparison": "nothing to compare",
        "ablations": "Not run",
        "fairness": "no gender, ethnicity or age",
        "intervals": "no intervals",
        "contributions": "Not available",
        "embeddings": "No stage3/embeddings_test.npz",
        "curves": "no curves",
    }.items():
        assert words in page.text[section]


@pytest.mark.parametrize("content", ["model: 5\n", "model: [", "", "model: {init_args: {features: [5]}}\n", "\xff"])
def test_damaged_settings_of_a_stage_cost_a_line(run, tmp_path, content, capsys):
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "seed42" / "stage1_audio" / "config.yaml").write_text(content, encoding="latin-1")
    assert main(["report", str(copy)]) == 2
    error = capsys.readouterr().err.strip()
    assert "config.yaml" in error and error.count("\n") == 0


def test_what_is_no_run_is_refused(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "no run folder" in capsys.readouterr().err


PROBE = """<script>
const faults = [];
const note = text => faults.push(String(text));
console.error = console.warn = note;
addEventListener("error", event => note(event.message || event.target.outerHTML), true);
addEventListener("securitypolicyviolation", event => note("request: " + event.blockedURI));
addEventListener("load", () => {
  const charts = [...document.querySelectorAll("svg")];
  const wide = [...document.querySelectorAll("body *")].filter(element =>
    element.getBoundingClientRect().right > innerWidth + 1 && !element.closest(".scroll, pre, svg, details, nav"));
  parent.postMessage({
    width: innerWidth, faults, charts: charts.length,
    empty: charts.filter(chart => chart.getBoundingClientRect().height < 50).length,
    broken: [...document.images].filter(image => !image.naturalWidth).length,
    resources: performance.getEntriesByType("resource").map(entry => entry.name),
    overflow: document.documentElement.scrollWidth - innerWidth,
    wide: wide.map(element => element.outerHTML.slice(0, 80)),
    clipped: charts.filter(chart => [...chart.querySelectorAll("text")].some(text => {
      const box = text.getBoundingClientRect(), frame = chart.getBoundingClientRect();
      return box.left < frame.left - 2 || box.right > frame.right + 2;
    })).map(chart => chart.getAttribute("aria-label")),
  }, "*");
});
</script>"""


@pytest.mark.skipif(CHROME is None, reason="no chromium or google-chrome on the path")
@pytest.mark.parametrize("which", ["text", "both"])
def test_browser_shows_it_without_errors_or_requests(which, request, tmp_path):
    """Opened at 1400 and 360 px: no error, nothing requested, no empty chart, no overflow, no label cut off."""
    text = request.getfixturevalue(which)
    probed = text.replace("default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';")
    assert probed != text
    (tmp_path / "probe.html").write_text(probed.replace("<title>", f"{PROBE}<title>"), encoding="utf-8")
    (tmp_path / "frames.html").write_text(
        "<pre id=out></pre><script>const found = []; onmessage = e => { found.push(e.data);"
        "document.getElementById('out').textContent = JSON.stringify(found); }</script>"
        "<iframe src=probe.html width=1400 height=900></iframe><iframe src=probe.html width=360 height=700></iframe>"
    )
    command = [CHROME, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"file://{tmp_path / 'frames.html'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = json.loads(html.unescape(re.search(r'<pre id="out">(.*?)</pre>', done.stdout, re.DOTALL)[1]))
    assert "CONSOLE" not in done.stderr
    assert sorted(frame["width"] for frame in found) == [360, 1400]
    for frame in found:
        assert frame["charts"] == text.count("<svg ") > 20
        assert {frame["empty"], frame["broken"]} == {0}
        assert frame["faults"] == frame["resources"] == frame["wide"] == frame["clipped"] == []
        assert frame["overflow"] <= 0


def test_names_with_dollar_signs_are_no_mathematics():
    names = ["$", "5 $ an hour", "$a_{b $", "$x$"]

    def draw(axes):
        axes.barh(range(4), range(4))
        axes.set_yticks(range(4), names)
        axes.set_title(names[2])

    drawn = picture("groups", "groups", draw).svg
    assert all(f">{name}<" in drawn for name in names)
