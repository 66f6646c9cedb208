from __future__ import annotations

import os
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packager.core.splice import Part
from packager.core.zip import LARGE_BYTES, Whole
from packager.errors import ExtractionError, InsufficientStorageError, StagingNeededError
from packager.limits.staging import list_files, staged_members
from packager.limits.storage import StorageManager
from packager.limits.usage import disk_usage
from packager.settings import Settings
from packager.stores import Stores
from packager.stores.archive import Archive
from telemetry.engine.testing import recorded
from tests.archive_strategies import trees
from tests.packages import BLOCK_BYTES, Model, ground

LINKED = Model({"a": 9000, "b/c": 0, "d": 5 * BLOCK_BYTES}, {"e": "a", "f": "d", "g": "a"})
MIXED = Model({"large": LARGE_BYTES, "a": 9000, "b/c": 0}, {"e": "a"})
sizes = st.integers(0, 20_000)


def nobody(_):
    return lambda _packed_bytes, _files: None


class Staging:
    """An archive and a scratch folder."""

    def __init__(self, here, model, **limits):
        self.settings = Settings(scratch_dir=here.root / "scratch", **limits)
        self.storage = StorageManager(self.settings)
        self.path = Path(here.compiled(model))
        self.archive = Archive(Stores().source(str(self.path)))

    def members(self, reporter=nobody):
        return staged_members(self.archive, self.settings, self.storage, "arm64-cpu", reporter)

    def held(self):
        """Files on scratch: their number and bytes."""
        found = [each.stat().st_size for each in self.settings.scratch_dir.rglob("*") if each.is_file()]
        return len(found), sum(found)

    def assert_clean(self):
        assert list(self.settings.scratch_dir.glob("*")) == []
        assert self.storage.reservations() == {}
        assert self.storage.written_bytes == 0


@contextmanager
def staging(model=LINKED, **limits):
    with ground() as here:
        ours = Staging(here, model, **limits)
        yield ours
        ours.assert_clean()


def content_of(member):
    """What a reader unpacks from the packed form of a member."""
    packed, method = bytearray(), zipfile.ZIP_DEFLATED
    for item in member.as_file("name").packed("name"):
        if isinstance(item, Whole):
            method = item.method
        if isinstance(item, Whole | Part):
            packed += item.data
    content = bytes(packed) if method == zipfile.ZIP_STORED else zlib.decompress(packed, -15)
    assert zlib.crc32(content) == member.crc32
    return content


@st.composite
def models(draw):
    names = draw(trees.filter(bool))
    linked = draw(st.lists(st.sampled_from(names), max_size=3))
    links = {f"hard link {number}": name for number, name in enumerate(linked)}
    return Model({name: draw(sizes) for name in names}, links, draw(st.integers(0, 9)))


@settings(suppress_health_check=list(HealthCheck))
@given(models())
def test_staged_members_are_those_of_the_archive_in_its_order_and_links_have_the_content_they_share(model):
    with staging(model) as ours, ours.members() as staged:
        members = staged.files()
        given_ = [(each.path, each.size_bytes, content_of(each)) for each in members]
        expected = {**model.files, **{name: model.files[target] for name, target in model.links.items()}}
        assert given_ == [(name, len(data), data) for name, data in expected.items()]


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from([0, 1, 4095, 4097, LARGE_BYTES - 1, LARGE_BYTES]), min_size=1, max_size=8))
def test_the_estimate_is_what_the_files_on_scratch_take_and_a_block_for_each(sizes_bytes):
    with staging(Model(dict(zip("abcdefgh", sizes_bytes, strict=False)), {"z": "a"})) as ours:
        listed = list_files(ours.archive, ours.settings, nobody("listing"))
        needed = ours.storage.estimate_space_needed(listed)
        with ours.members():
            files = [each.stat().st_size for each in ours.settings.scratch_dir.rglob("0*")]
        block = disk_usage(ours.settings.scratch_dir).block_bytes
        found = sum((-(-each // block) + 1) * block for each in files)
        assert found <= needed <= found + block  # a link at the end may count as a file of nothing


def test_a_large_file_goes_when_it_was_read_and_small_ones_when_no_later_member_needs_any_of_them():
    with staging(MIXED) as ours, ours.members() as staged:
        all_bytes, held = ours.storage.written_bytes, []
        for member in staged.files():
            content_of(member)
            held.append((member.path, ours.held()[0], ours.storage.written_bytes))
        held.append(("", *ours.held()))
    small_bytes = sum(MIXED.packed_sizes_bytes[name] for name in ("a", "b/c"))
    # A file goes when the next one is asked for; `a` is needed again, and `b/c` lies beside it.
    assert held == [
        ("large", 2, all_bytes),
        ("a", 1, small_bytes),
        ("b/c", 1, small_bytes),
        ("e", 1, small_bytes),
        ("", 0, 0),
    ]


def test_small_members_share_files_of_about_a_mebibyte():
    with staging(Model(dict.fromkeys(map(str, range(150)), 20_000))) as ours, ours.members() as staged:
        assert ours.held()[0] == 3
        sizes_bytes = [each.stat().st_size for each in ours.settings.scratch_dir.rglob("0*") if each.is_file()]
        assert all((1 << 20) <= each < (1 << 20) + 21_000 for each in sorted(sizes_bytes)[1:])
        assert [zlib.crc32(content_of(each)) == each.crc32 for each in staged.files()] == [True] * 150


def test_the_space_is_reserved_before_the_first_byte_is_written_and_given_back():
    with staging() as ours:
        seen = []

        def reporter(phase):
            return lambda packed, files: seen.append(
                (phase, packed, files, sum(ours.storage.reservations().values()), ours.held()[1])
            )

        with ours.members(reporter):
            assert ours.storage.reservations() == {"arm64-cpu": LINKED.staged_bytes}
        listing = [each for each in seen if each[0] == "listing"]
        assert listing
        assert {each[3:] for each in listing} == {(0, 0)}
        assert {each[3] for each in seen if each[0] == "staging"} == {LINKED.staged_bytes}
        assert ours.storage.peak_written_bytes == sum(LINKED.packed_sizes_bytes.values())


def test_what_does_not_fit_is_refused_with_figures_and_nothing_is_written():
    with staging(storage_critical_bytes=8000, storage_warning_bytes=8000) as ours:
        with recorded() as records, pytest.raises(InsufficientStorageError) as raised, ours.members():
            pytest.fail("it was staged")
        assert (raised.value.required_bytes, raised.value.available_bytes) == (LINKED.staged_bytes, 8000)
        assert "ExtractArchive" not in {each.row for each in records}


def fail_after(count, members):
    for number, _ in enumerate(members):
        if number == count:
            raise LookupError


@pytest.mark.parametrize("after", range(4))
def test_leaving_early_or_with_an_error_leaves_nothing(after):
    with staging() as ours:
        with pytest.raises(LookupError), ours.members() as staged:
            fail_after(after, staged.files())
        with ours.members() as staged:
            members = staged.files()
            for _ in range(after):
                next(members)


@pytest.mark.parametrize("phase", ["listing", "staging"])
def test_a_report_that_raises_ends_it_without_a_trace(phase):
    def reporter(now):
        def report(_packed_bytes, files):
            if now == phase and files >= 2:
                raise LookupError

        return report

    with staging() as ours, pytest.raises(LookupError), ours.members(reporter):
        pytest.fail("it was staged")


def test_a_damaged_archive_is_an_error_before_anything_is_reserved():
    with staging() as ours:
        ours.path.write_bytes(LINKED.archive()[:-30])
        ours.archive = Archive(Stores().source(str(ours.path)))
        with recorded() as records, pytest.raises(ExtractionError), ours.members():
            pytest.fail("it was staged")
        assert "ReserveStorage" not in {each.row for each in records}


def test_progress_goes_from_nothing_to_the_whole_artifact_also_past_members_that_nobody_reads():
    with staging() as ours, ours.members() as staged:
        members = staged.files()
        done = [staged.packed_bytes]
        for number, member in enumerate(members):
            if number != 2:
                content_of(member)
            done.append(staged.packed_bytes)
        done.append(staged.packed_bytes)
        assert done == sorted(done)
        assert (done[0], done[-1]) == (0, ours.path.stat().st_size)


def test_an_artifact_of_empty_files_is_read_whole():
    with staging(Model({"a": 0, "b": 0})) as ours, ours.members() as staged:
        members = staged.files()
        assert [each.size_bytes for each in members] == [0, 0]
        assert staged.packed_bytes == ours.path.stat().st_size


def test_a_listing_says_name_and_packed_size_of_each_file_and_none_for_a_link():
    with staging() as ours:
        found = list_files(ours.archive, ours.settings, nobody("listing"))
        assert not any(each.is_large for each in found)
        assert [(each.name, each.size_bytes) for each in found] == [
            *LINKED.packed_sizes_bytes.items(),
            *((name, 0) for name in LINKED.links),
        ]


def test_files_on_scratch_are_named_by_us_and_only_the_user_can_enter_their_folder():
    with staging(Model({"../evil"[3:]: 10, "deep/er/name": LARGE_BYTES})) as ours, ours.members():
        [folder] = ours.settings.scratch_dir.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.stat().st_uid == os.geteuid()
        assert sorted(each.name for each in folder.rglob("*")) == ["00000000", "00000001"]


def test_extraction_is_recorded_with_members_bytes_and_scratch():
    with staging() as ours, recorded() as records, ours.members():
        pass
    [fields] = [each.fields for each in records if each.row == "ExtractArchive"]
    assert (fields["members"], fields["source"]) == (len(LINKED.files) + len(LINKED.links), str(ours.path))
    assert fields["bytes_out"] == sum(LINKED.packed_sizes_bytes.values())
    assert fields["storage_before_bytes"] <= fields["storage_after_bytes"] <= fields["storage_peak_bytes"]


def test_the_same_archive_cannot_be_streamed():
    with (
        staging() as ours,
        pytest.raises(StagingNeededError),
        ours.archive.open(ours.settings) as archive,
    ):
        list(archive.files())
