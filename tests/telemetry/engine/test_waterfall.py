"""The waterfall: the tree of a run, drawn from memory or from the file, the same."""

from hypothesis import given
from hypothesis import strategies as st

import telemetry
from telemetry import catalog, waterfall
from telemetry.engine.waterfall import Span, in_units

MS = 1_000_000
RUN = [
    Span("package request", "1", "", 0, 2000 * MS, fields={"bytes_in": 3 * 1024**3}),
    Span("package target", "2", "1", 0, 50 * MS, fields={"target": "onnx", "bytes_out": 10}),
    Span("read artifact", "3", "2", 0, 25 * MS, fields={"bytes_read": 2048}),
    Span("package target", "4", "1", 50 * MS, 2000 * MS, outcome="failure", fields={"target": "arm64-cpu"}),
    Span("write component", "5", "4", 75 * MS, 2000 * MS),
]


def test_a_run_is_drawn_as_a_tree_with_times_and_bytes():
    assert waterfall(list(reversed(RUN)), 92).splitlines() == [
        "package request        ████████████████████████████████████████     2.00 s in 3.0 GiB",
        "├─ package target      █·······································    50.0 ms onnx out 10 B",
        "│  └─ read artifact    █·······································    25.0 ms read 2.0 KiB",
        "└─ package target      ·███████████████████████████████████████     1.95 s arm64-cpu FAILURE",
        "   └─ write component  ·███████████████████████████████████████     1.93 s",
    ]


def test_a_waterfall_of_no_spans_says_so():
    assert waterfall([]) == "no spans were recorded"


@given(
    st.lists(
        st.builds(
            Span,
            st.sampled_from(["a", "read artifact"]),
            st.sampled_from("123456"),
            st.sampled_from(["", "1", "2", "9"]),
            st.integers(0, 10**12),
            st.integers(0, 10**12),
        ),
        max_size=6,
        unique_by=lambda span: span.span_id,
    ).map(lambda spans: [span for span in spans if span.parent_id < span.span_id or span.parent_id == "9"]),
    st.integers(0, 200),
)
def test_every_span_has_its_line_and_all_bars_are_equally_long(spans, width):
    lines = waterfall(spans, width).splitlines()
    if spans:
        assert len(lines) == len(spans)
        assert len({sum(line.count(mark) for mark in "·█") for line in lines}) == 1


def test_the_tree_of_a_run_is_the_same_from_memory_and_from_the_file(recorded_in):
    recording, found = recorded_in()
    with recording, telemetry.collected_spans() as spans, telemetry.observe(catalog.PACKAGE_REQUEST, bytes_in=5):
        for target in ("onnx", "strange"):
            with (
                telemetry.context(target=target),
                telemetry.observe(catalog.PACKAGE_TARGET, target=target, bytes_out=7),
            ):
                pass
    read = telemetry.read_spans((found.folder / "spans.jsonl").read_text().splitlines())

    def shape(spans):
        names = {span.span_id: span.name for span in spans}
        return [
            (span.name, names.get(span.parent_id), span.fields.get("target"), span.fields.get("bytes_out"))
            for span in spans
            if span.name != "telemetry health"
        ]

    assert shape(spans) == shape(read)
    assert "package target" in waterfall(spans)
    assert "strange out 7 B" in waterfall(spans)


def test_bytes_are_told_in_binary_units():
    assert [in_units(count) for count in (0, 1023, 1024, 5 * 1024**4)] == ["0 B", "1023 B", "1.0 KiB", "5.0 TiB"]


def test_every_step_stands_in_the_tree_once_however_many_there_were():
    with telemetry.collected_spans() as spans, telemetry.observe(catalog.PACKAGE_REQUEST):
        for _ in range(200):
            with telemetry.observe(catalog.PACKAGE_TARGET), telemetry.observe(catalog.MONITOR_STORAGE):
                pass
    assert len({span.span_id for span in spans}) == len(spans) == 401
    assert len(waterfall(spans).splitlines()) == 401
