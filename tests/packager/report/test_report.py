"""The page about a run: it says what was done, to anybody, in any browser, whatever the artifact calls itself."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from packager.cli.commands import packager as command_line
from packager.cli.recorded import PAGE_MARK
from packager.errors import RequestError
from packager.report.charts import chart
from packager.report.page import render_report
from packager.report.recording import MAX_SAMPLES, ProgressSample, RunRecording
from packager.report.series import BINS, BinnedLine, memory, speeds, stages
from packager.report.spans import MAX_OF_ONE_KIND, rows
from packager.results import ComponentResult, Finding, PackageResult, ProcessingState
from telemetry import Span
from tests.dashboards.chromium import axe_script, browser, violations
from tests.packages import Model, ground

AUDIT = Path(__file__).parents[2].joinpath("dashboards", "audit.js").read_text()


OLD = b"<!doctype html>" + PAGE_MARK


@pytest.fixture(scope="module")
def page():
    """Of a run with a target that is packaged, one with warnings, and one that fails."""
    with ground() as here:
        model = here.compiled(Model({"compiled.so": 4_000_000, "compiled.params": 3_000_000, "a.json": 300}))
        compiled = {"jetson-xavier": model, "x86_64-cpu": model, "arm64-cpu": "no-such.tar.gz"}
        options = [option for pair in compiled.items() for option in ("--compiled", "=".join(pair))]
        path = here.root / "run.html"
        done = CliRunner().invoke(
            command_line,
            ["package", "--trained", here.trained, *options, "--output", here.out, "--report", str(path)],
        )
        assert done.exit_code == 1
        yield path


def text_of(html):
    class Texts(HTMLParser):
        def __init__(self):
            super().__init__()
            self.found = []

        def handle_data(self, data):
            self.found.append(data)

    parser = Texts()
    parser.feed(html)
    return re.sub(r"\s+", " ", " ".join(parser.found))


def test_the_page_says_what_was_done_and_what_went_wrong(page):
    text = text_of(page.read_text())
    for said in ("2 packaged", "1 failed", "jetson-xavier", "No such file or directory", "warning library-machine"):
        assert said in text
    assert len(re.findall(r"package target", text)) == 3
    assert "reading manifest" in text
    assert "packaging x86_64-cpu" in text
    copied = re.findall(r"(\S+) : 4 files, ([\d.]+ \w+) \((\d+) %\) copied from the artifact", text)
    assert {target for target, _, _ in copied} == {"jetson-xavier", "x86_64-cpu"}
    assert all(int(share) > 80 for _, _, share in copied)


def test_the_page_is_one_file_without_script_that_asks_for_nothing(page):
    html = page.read_text()
    assert "<script" not in html
    assert not re.search(r"(?:src|href)=\"(?!data:)", html)
    assert "default-src 'none'" in html
    assert len(html) < 100_000


def test_the_page_is_legible_in_light_and_dark_and_on_a_phone_and_axe_finds_nothing(page, tmp_path):
    with browser() as chromium:
        axe = None
        for scheme in ("light", "dark"):
            for width in (1200, 390):
                chromium.open(page, width, 900, scheme, has_script=False)
                assert chromium.value("document.documentElement.scrollWidth <= innerWidth")
                texts = chromium.value(AUDIT)
                assert len(texts) > 50
                assert [text for text in texts if not text["enough"]] == []
                assert chromium.console == []
                assert all(url.startswith(("file:", "data:")) for url in chromium.requests)
                axe = axe or axe_script(tmp_path)
                assert violations(chromium, axe) == []


def test_what_an_artifact_calls_itself_is_text():
    nasty = "</style><script>alert(1)</script>\x1b[2J\ud800" + "a" * 5000
    finding = Finding("rule", nasty, nasty, nasty)
    failed = ComponentResult(nasty, "failed", nasty, 1.0, error=RequestError(nasty, next_step=nasty))
    made = ComponentResult(nasty, "packaged", "streaming", 1.0, nasty, "0" * 64, 5, 1, [finding])
    recording = RunRecording()
    recording.spans = [Span(nasty, "1", "", 0, 10, "failure", {"target": nasty})]
    recording.on_progress(None)(ProcessingState("packaging", nasty, 5, 10))
    recording._sample()
    html = render_report(recording, PackageResult([failed, made], error=failed.error), nasty).decode()
    assert "<script" not in html
    assert html.count("</style>") == 1
    assert "\x1b" not in html


@pytest.mark.parametrize(
    ("duration_s", "times"), [(0.11, ["0.055 s", "0.110 s"]), (1.0, ["0.5 s", "1.0 s"]), (90.26, ["45.1 s", "90.3 s"])]
)
def test_the_times_below_a_chart_differ_however_short_the_run_was(duration_s, times):
    drawn = chart("Speed", [BinnedLine("packaging", [0.0, 1.0])], duration_s, "/s")
    assert re.findall(r"[\d.]+ s(?=</span>)", drawn) == ["0 s", *times]


def test_a_report_that_cannot_be_written_is_one_line_and_the_work_is_done_all_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ground() as here:
        model = here.compiled(Model({"model.onnx": 3000}))
        asked = ["package", "--layout", "files", "--model", model, "--name", "n", "--version", "1.0.0"]
        for wrong in ("-", "nowhere/run.html", str(tmp_path), "/dev/null"):
            refused = CliRunner().invoke(command_line, [*asked, "--output", here.out, "--report", wrong])
            assert refused.exit_code == 2
            assert not Path(here.out).exists()
        Path("run.html").write_bytes(OLD)
        monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        done = CliRunner().invoke(
            command_line, [*asked, "--output", f"{here.out}/b", "--report", "run.html", "--force"]
        )
        assert done.exit_code == 1
        assert "Error: The report was not written: " in done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["run.html"]
        assert Path("run.html").read_bytes() == OLD


def test_a_report_replaces_a_former_one_or_an_empty_file_and_never_an_input(tmp_path):
    with ground() as here:
        folder = tmp_path / "model"
        folder.mkdir()
        weights, archive = folder / "weights.bin", Path(here.compiled(Model({"model.onnx": 3000})))
        weights.write_bytes(b"weights")
        template, link = tmp_path / "recipe.yaml", tmp_path / "link.html"
        card = folder / "card.html"
        card.write_text("<!doctype html>\n<html><head><title>Model card</title></head></html>")
        template.write_text(CliRunner().invoke(command_line, ["recipe", "--show-template", "model"]).stdout)
        link.symlink_to(archive)
        named = ["package", "--output", here.out, "--layout", "files", "--name", "n", "--version", "1.0.0"]
        of_folder = [*named, "--model", str(folder), "--recipe", str(template)]
        of_target = ["package", "--output", here.out, "--trained", here.trained, "--compiled", f"arm64-cpu={archive}"]
        for asked, path in (
            (of_folder, weights),
            (of_folder, card),
            (of_folder, template),
            (of_target, archive),
            (of_target, link),
            (of_target, Path(here.trained)),
        ):
            held = path.read_bytes()
            refused = CliRunner().invoke(command_line, [*asked, "--report", str(path)])
            assert (refused.exit_code, path.read_bytes()) == (2, held)
            assert "Name another file" in refused.stderr
            assert not Path(here.out).exists()
        report = tmp_path / "run.html"
        report.touch()
        for _ in range(2):
            assert CliRunner().invoke(command_line, [*of_folder, "--report", str(report)]).exit_code == 0
            assert PAGE_MARK in report.read_bytes()[:512]


def test_a_run_of_any_length_keeps_so_many_samples_and_no_more():
    now = [0.0]
    recording = RunRecording(clock=lambda: now[0])
    recording._stop.wait = lambda interval_s: now.__setitem__(0, now[0] + interval_s) or now[0] > 3600
    recording._sample_until_stopped()
    assert MAX_SAMPLES / 2 <= len(recording.samples) <= MAX_SAMPLES + 1
    assert recording.samples[-1].at_s > 3600


SAMPLES = st.lists(st.tuples(st.floats(0.001, 5), st.integers(0, 1 << 40)), min_size=1, max_size=40)


@given(SAMPLES, st.integers(1, 12))
def test_the_area_below_the_speeds_is_the_bytes_that_were_read(steps, count):
    at_s, done, samples = 0.0, 0, [ProgressSample(0.0, 1, {})]
    for wait_s, size in steps:
        at_s, done = at_s + wait_s, done + size
        samples.append(ProgressSample(at_s, size, {f"stage {number}": done * number for number in range(1, count + 1)}))
    found = speeds(samples, at_s)
    area = sum(sum(each.values) for each in found) * at_s / BINS
    assert area == pytest.approx(done * sum(range(1, count + 1)), rel=1e-6, abs=1)
    assert memory(samples, at_s).peak == max(sample.resident_bytes for sample in samples)
    assert sum(each.size_bytes for each in stages(samples)) == done * sum(range(1, count + 1))


@given(st.integers(1, 3000))
def test_many_spans_of_one_kind_are_one_row_of_their_sum(count):
    spans = [
        Span("read artifact", str(at), "0", at, at + 5, "success", {"bytes_read": 7}) for at in range(1, count + 1)
    ]
    found = rows([Span("package target", "0", "", 0, count + 9), *spans])
    if count <= MAX_OF_ONE_KIND:
        assert len(found) == 1 + count
    else:
        (_, folded) = found
        assert (folded.name, folded.start_ns, folded.end_ns) == (f"{count} of read artifact", 1, count + 5)
        assert "read " in folded.note
