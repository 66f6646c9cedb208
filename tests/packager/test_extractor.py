from __future__ import annotations

import dataclasses
import io
import json
import os
import tarfile
import tracemalloc
from posixpath import normpath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packager.errors import (
    ArtifactNotFoundError,
    ExtractionError,
    LimitExceededError,
    RequestError,
    StagingNeededError,
    StoreError,
    UnsafeArchiveError,
    printable,
)
from packager.extractor import ArchiveInfo, MemberInfo, StreamingExtractor
from packager.limits.staging import ExtractedFile
from packager.settings import Settings
from telemetry import catalog
from telemetry.engine.testing import recorded
from tests import archives
from tests.archive_strategies import file_sets, framed, tars
from tests.archives import END, gz, header, member

KINDS = {tarfile.DIRTYPE: "directory", tarfile.LNKTYPE: "hard link", tarfile.SYMTYPE: "symbolic link"}
EXTRACTOR = StreamingExtractor(Settings())
on_disk = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def put(tmp_path):
    """Gives the path of an archive with these bytes; a new one each time, as none may change once it was seen."""
    numbers = iter(range(1_000_000))

    def put(data):
        path = tmp_path / f"archive-{next(numbers)}.tar.gz"
        path.write_bytes(data)
        return path

    return put


@on_disk
@given(st.data(), tars())
def test_inspection_agrees_with_tarfile_on_every_sound_archive(put, data, whole):
    path = put(data.draw(framed(whole)))
    info = EXTRACTOR.get_archive_info(path)
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        sizes = {normpath(each.name): each.size for each in archive if each.isreg()}
        expected = [
            (each.name, sizes.get(normpath(each.linkname or each.name), 0), KINDS.get(each.type, "file"))
            for each in archive
        ]
    assert [(each.name.rstrip("/"), each.size_bytes, each.kind) for each in info.members] == expected
    assert (info.findings, info.uri, info.packed_bytes) == ((), str(path), path.stat().st_size)
    assert info.unpacked_bytes == sum(size for _, size, _ in expected)
    assert json.loads(json.dumps(info.as_dict()))["files"] == sum(kind != "directory" for _, _, kind in expected)


@pytest.mark.parametrize("name", archives.hostile())
def test_inspection_of_a_hostile_archive_finds_its_fault_and_never_raises(put, name):
    info = EXTRACTOR.get_archive_info(put(archives.hostile()[name]))
    assert info.findings
    for text in [f"{each.rule}{each.message}{each.next_step}{each.subject}" for each in info.findings]:
        assert text.isprintable()
        assert len(text) < 2000
    assert all(each.name.isprintable() for each in info.members)
    assert json.dumps(info.as_dict(), allow_nan=False).isascii()


def test_inspection_lists_every_fault_of_a_member_and_the_members_behind_it(put):
    whole = (
        member(b"good")
        + member(b"../evil")
        + header(b"link", kind=b"2", link=b"/etc/passwd")
        + member(b"\xff\x1b[2J")
        + member(b"good")
        + header(b"hard", kind=b"1", link=b"nothing")
        + header(b"dev", kind=b"3")
        + member(b"last", b"1234567")
    )
    info = EXTRACTOR.get_archive_info(put(gz(whole + END)))
    assert [each.name for each in info.members] == [
        "good", "../evil", "link", r"\udcff\x1b[2J", "good", "hard", "dev", "last",
    ]  # fmt: skip
    assert [each.subject for each in info.findings] == ["../evil", "link", r"\udcff\x1b[2J", "good", "hard", "dev"]
    assert {each.rule for each in info.findings} == {"UnsafeArchiveError"}
    cut = EXTRACTOR.get_archive_info(put(gz(whole)))
    assert cut.members == info.members
    assert [each.rule for each in cut.findings][6:] == ["ExtractionError"]


def test_inspection_of_one_archive_compares_as_a_whole(put):
    path = put(gz(archives.tar([("a", b"abc"), ("d/b", b"")])))
    size = path.stat().st_size
    expected = ArchiveInfo(
        uri=str(path),
        packed_bytes=size,
        unpacked_bytes=3,
        members=(MemberInfo("a", 3, "file"), MemberInfo("d/b", 0, "file")),
        findings=(),
        files=2,
        left_out=(),
        members_in_all=2,
        findings_in_all=0,
        left_out_in_all=0,
    )
    assert EXTRACTOR.get_archive_info(path) == expected
    assert expected.ratio == 3 / size
    assert dataclasses.replace(expected, packed_bytes=0).ratio == 0


def test_inspection_tells_how_far_it_is(put):
    path = put(gz(archives.tar([(f"f{number}", bytes(900)) for number in range(50)])))
    told = []
    EXTRACTOR.get_archive_info(path, told.append)
    assert len(told) == 50
    assert told == sorted(told)
    assert told[-1] == path.stat().st_size


@on_disk
@given(st.data(), file_sets)
def test_every_file_is_extracted_whole_under_a_name_that_we_chose(put, tmp_path_factory, data, files):
    folder = tmp_path_factory.mktemp("out") / "new" / "folder"
    extracted = EXTRACTOR.extract_streaming(put(data.draw(framed(archives.tar(files.items())))), folder)
    assert {each.name: each.path.read_bytes() for each in extracted} == files
    assert [each.name for each in extracted] == list(files)
    assert {each.name: each.size_bytes for each in extracted} == {name: len(data) for name, data in files.items()}
    assert sorted(folder.iterdir()) == sorted(each.path for each in extracted)
    assert all(each.path.name.isdigit() and os.fspath(each) == str(each.path) for each in extracted)


@pytest.mark.parametrize("name", archives.hostile())
def test_extraction_of_a_hostile_archive_is_an_error_with_nothing_left(put, tmp_path, name):
    folder = tmp_path / "out"
    with pytest.raises(ExtractionError):
        EXTRACTOR.extract_streaming(put(archives.hostile()[name]), folder)
    assert [*folder.iterdir()] == []


def test_a_cut_archive_leaves_nothing_although_whole_files_came_before(put, tmp_path):
    whole = gz(archives.tar([(f"f{number}", bytes([number]) * 100_000) for number in range(20)]), levels=(0,))
    told = []
    with pytest.raises(ExtractionError):
        EXTRACTOR.extract_streaming(
            put(whole[:-20]), tmp_path / "out", lambda each: told.append(each.path.read_bytes())
        )
    assert told[:3] == [bytes([number]) * 100_000 for number in range(3)]
    assert [*(tmp_path / "out").iterdir()] == []


def test_the_callback_gets_each_file_while_it_is_the_only_one(put, tmp_path):
    whole = gz(archives.tar([(f"f{number}", bytes([number]) * 5000) for number in range(9)]))
    folder, found = tmp_path / "out", []

    def use(extracted):
        assert [*folder.iterdir()] == [extracted.path]
        found.append((extracted.name, extracted.path.read_bytes()))
        extracted.path.unlink()

    done = EXTRACTOR.extract_streaming(put(whole), folder, use)
    assert found == [(f"f{number}", bytes([number]) * 5000) for number in range(9)]
    assert [each.name for each in done] == [name for name, _ in found]


def test_an_error_of_the_callback_passes_unchanged_with_nothing_left(put, tmp_path):
    failure = ZeroDivisionError("of the caller")

    def fail(extracted):
        if extracted.name == "f2":
            raise failure

    with pytest.raises(ZeroDivisionError) as caught:
        EXTRACTOR.extract_streaming(put(gz(archives.tar([(f"f{n}", b"x") for n in range(5)]))), tmp_path / "out", fail)
    assert caught.value is failure
    assert [*(tmp_path / "out").iterdir()] == []


def linked(*links):
    return gz(member(b"a", b"weights") + b"".join(header(name, kind=b"1", link=to) for name, to in links) + END)


def test_hard_links_become_copies(put, tmp_path):
    path = put(linked((b"b", b"a"), (b"c", b"./b")))
    extracted = EXTRACTOR.extract_streaming(path, tmp_path / "out")
    assert [(each.name, each.size_bytes, each.path.read_bytes()) for each in extracted] == [
        ("a", 7, b"weights"), ("b", 7, b"weights"), ("c", 7, b"weights"),
    ]  # fmt: skip
    assert len({each.path.stat().st_ino for each in extracted}) == 3


def test_a_hard_link_whose_file_the_callback_removed_is_a_typed_error(put, tmp_path):
    with pytest.raises(ArtifactNotFoundError):
        EXTRACTOR.extract_streaming(put(linked((b"b", b"a"))), tmp_path / "out", lambda each: each.path.unlink())
    assert [*(tmp_path / "out").iterdir()] == []


def test_what_lies_in_the_folder_already_is_neither_overwritten_nor_removed(put, tmp_path):
    kept = tmp_path / "00000001"
    kept.write_bytes(b"of somebody else")
    with pytest.raises(StoreError):
        EXTRACTOR.extract_streaming(put(gz(archives.tar([("a", b"1"), ("b", b"2")]))), tmp_path)
    assert kept.read_bytes() == b"of somebody else"
    assert not (tmp_path / "00000000").exists()


def test_a_link_that_lies_in_the_folder_already_is_not_followed(put, tmp_path):
    outside = tmp_path / "outside"
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "00000000").symlink_to(outside)
    with pytest.raises(StoreError):
        EXTRACTOR.extract_streaming(put(gz(archives.tar([("a", b"1")]))), tmp_path / "out")
    assert not outside.exists()


@on_disk
@given(file_sets, st.sampled_from(["*", "*.b", "a*", "*/*", "nothing"]))
def test_selected_files_are_those_whose_path_matches(put, files, pattern):
    import fnmatch  # noqa: PLC0415  the oracle of this test only

    found = EXTRACTOR.extract_selective(put(gz(archives.tar(files.items()))), [pattern, "never"])
    assert found == {name: data for name, data in files.items() if fnmatch.fnmatchcase(name, pattern)}


def test_a_selected_hard_link_has_its_files_content_or_is_an_error_that_says_what_to_do(put):
    path = put(linked((b"b", b"a")))
    assert EXTRACTOR.extract_selective(path, ["a", "b"]) == {"a": b"weights", "b": b"weights"}
    assert EXTRACTOR.extract_selective(path, ["a"]) == {"a": b"weights"}
    with pytest.raises(StagingNeededError) as caught:
        EXTRACTOR.extract_selective(path, ["b"])
    assert (caught.value.member, caught.value.link_target) == ("b", "a")


def test_selection_up_to_its_limit_passes_and_one_byte_more_does_not(put):
    extractor = StreamingExtractor(Settings(max_selected_bytes=1000))
    path = put(gz(archives.tar([("a", bytes(600)), ("b", bytes(400)), ("c", b"1"), ("large", bytes(5000))])))
    assert len(extractor.extract_selective(path, ["a", "b"])) == 2
    with pytest.raises(LimitExceededError, match="MAX_SELECTED_BYTES = 1000") as caught:
        extractor.extract_selective(path, ["a", "b", "c"])
    assert (caught.value.limit, caught.value.found) == (1000, 1001)


@pytest.mark.parametrize("name", archives.hostile())
def test_selection_from_a_hostile_archive_is_an_error(put, name):
    with pytest.raises(ExtractionError) as caught:
        EXTRACTOR.extract_selective(put(archives.hostile()[name]), ["nothing"])
    assert caught.value.next_step


@pytest.mark.parametrize("call", ["extract_streaming", "extract_selective", "get_archive_info"])
@pytest.mark.parametrize("where", ["missing", "folder", "s3://", "ftp://host/a"])
def test_an_archive_that_cannot_be_had_is_a_typed_error(tmp_path, call, where):
    arguments = {"extract_streaming": [tmp_path / "out"], "extract_selective": [["*"]], "get_archive_info": []}[call]
    (tmp_path / "folder").mkdir()
    path = where if ":" in where else tmp_path / where
    with pytest.raises((StoreError, RequestError)):
        getattr(EXTRACTOR, call)(path, *arguments)


def test_every_limit_of_the_settings_holds(put, tmp_path):
    strict = StreamingExtractor(Settings(max_members=1))
    path = put(gz(archives.tar([("a", b""), ("b", b"")])))
    assert [each.rule for each in strict.get_archive_info(path).findings] == ["LimitExceededError"]
    with pytest.raises(LimitExceededError):
        strict.extract_streaming(path, tmp_path / "out")


def test_archives_in_s3_read_as_files_do(s3_server, bucket, put, tmp_path):
    data = gz(archives.tar([("a", b"abc" * 1000), ("b", b"")]))
    s3_server.client().put_object(Bucket=bucket, Key="models/model.tar.gz", Body=data)
    in_s3 = StreamingExtractor(Settings(), client=s3_server.client())
    uri = f"s3://{bucket}/models/model.tar.gz"
    info = EXTRACTOR.get_archive_info(put(data))
    assert in_s3.get_archive_info(uri) == dataclasses.replace(info, uri=uri)
    assert in_s3.extract_selective(uri, ["a"]) == {"a": b"abc" * 1000}
    assert in_s3.extract_streaming(uri, tmp_path / "out") == [
        ExtractedFile("a", tmp_path / "out" / "00000000", 3000),
        ExtractedFile("b", tmp_path / "out" / "00000001", 0),
    ]


def test_each_call_is_observed_once(put, tmp_path):
    path = put(linked((b"b", b"a")))
    with recorded() as records:
        EXTRACTOR.extract_streaming(path, tmp_path / "out")
        EXTRACTOR.extract_selective(path, ["a"])
        EXTRACTOR.get_archive_info(path)
        with pytest.raises(UnsafeArchiveError):
            EXTRACTOR.extract_selective(put(archives.unsafe()["a symbolic link"]), ["a"])
    extract, inspect = catalog.EXTRACT_ARCHIVE.name, catalog.INSPECT_ARCHIVE.name
    found = [(each.row, each.outcome, each.fields.get("members")) for each in records if each.row in (extract, inspect)]
    assert [(row, members) for row, _, members in found] == [(extract, 2), (extract, 1), (inspect, 2), (extract, None)]
    assert [outcome == "success" for _, outcome, _ in found] == [True, True, True, False]


def test_a_bomb_takes_little_memory_before_it_is_refused(put):
    path = put(gz(header(b"zeros", 512 << 20) + bytes(96 << 20), levels=(1,)))
    tracemalloc.start()
    try:
        findings = EXTRACTOR.get_archive_info(path).findings
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [each.rule for each in findings] == ["LimitExceededError"]
    assert peak_bytes < 8 << 20


@on_disk
@given(st.binary(max_size=300))
def test_any_bytes_are_inspected_without_an_error(put, data):
    info = EXTRACTOR.get_archive_info(put(data))
    assert info.findings
    assert printable(info.findings[0].message, 10_000) == info.findings[0].message


def test_inspection_keeps_and_names_no_more_than_its_bounds(put, monkeypatch):
    monkeypatch.setattr("packager.extractor.FINDINGS_KEPT", 10)
    monkeypatch.setattr("packager.extractor.NAMES_KEPT_BYTES", 2000)
    whole = b"".join(member(b"../%099d" % number) for number in range(50)) + member(b".DS_Store") + member(b"a")
    info = EXTRACTOR.get_archive_info(put(gz(whole + END)))
    assert (len(info.findings), info.findings_in_all) == (10, 50)
    assert (len(info.members), info.members_in_all, info.files) == (21, 52, 1)
    assert (info.left_out, info.left_out_in_all) == ((".DS_Store",), 1)


def test_inspection_counts_a_hard_link_with_the_size_of_its_target(put):
    info = EXTRACTOR.get_archive_info(put(linked((b"b", b"a"), (b"c", b"b"))))
    assert [each.size_bytes for each in info.members] == [7, 7, 7]
    assert (info.unpacked_bytes, info.files) == (21, 3)


def test_what_is_excluded_is_neither_extracted_nor_selected(put, tmp_path):
    path = put(gz(archives.tar([("a/b", b"1"), ("c", b"2"), ("._c", b"\0\5\x16\7")])))
    extractor = StreamingExtractor(Settings(), exclude=["a"])
    assert [each.name for each in extractor.extract_streaming(path, tmp_path / "out")] == ["c"]
    assert extractor.extract_selective(path, ["*"]) == {"c": b"2"}
