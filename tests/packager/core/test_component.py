from __future__ import annotations

import hashlib
import zipfile
from contextlib import closing, nullcontext, suppress
from functools import partial
from pathlib import Path

import pytest

from packager.core.component import Contents, IdentityLookup, make_component
from packager.core.pipeline import Lookahead
from packager.errors import ArtifactNotFoundError
from packager.settings import Settings
from packager.stores import Stores
from packager.stores.archive import Archive
from tests import models
from tests.packages import Model, ground

SMALL = Model({f"compiled.{suffix}": 3000 for suffix in ("so", "params", "json", "meta")})
LARGE = Model({"compiled.so": 6 << 20})
CONTENTS = Contents(
    [("first", b"1")],
    lambda members: (each.as_file(f"files/{each.path}") for each in members),
)


@pytest.fixture
def here():
    with ground() as ground_:
        yield ground_


def lookup(source, sink, *, look=True):
    def identify():
        identity = hashlib.sha256(repr(source.identity()).encode()).hexdigest()
        return f"components/{identity[:12]}.zip", identity

    return IdentityLookup(identify, sink, at_hand=source.identity_is_at_hand, look=look)


def make(source, out, *, look=True, check=lambda _key, _written: None, report=lambda _bytes, _files: None):
    sink = Stores().sink(out)
    with lookup(source, sink, look=look) as name:
        return make_component(
            CONTENTS,
            name,
            sink,
            partial(Archive(source).open, Settings()),
            check=check,
            report=report,
            lookahead=Lookahead(),
            measured=lambda _: nullcontext(),
        )


def test_entries_in_memory_come_first_and_then_the_files_in_the_archives_order(here):
    made = make(Stores().source(here.compiled(SMALL)), here.out)
    with zipfile.ZipFile(made.stored.uri) as file:
        assert file.namelist() == ["first", *(f"files/{name}" for name in SMALL.files)]
        assert file.read("first") == b"1"
        assert {name: file.read(f"files/{name}") for name in SMALL.files} == SMALL.files
    assert (made.new, made.files) == (True, 5)


def test_the_identity_of_a_file_is_worked_out_while_it_is_being_packaged_and_found_when_it_is_there(here):
    source = Stores().source(here.compiled(SMALL))
    made = make(source, here.out)
    sink = Stores().sink(here.out)
    with lookup(source, sink) as name:
        assert name.resolve()[1] == made.stored.identity
        assert name.found() == made.stored
        assert name.found() is None  # looks once
    with lookup(source, sink, look=False) as name:
        name.resolve()
        assert name.found() is None


def test_a_component_of_another_identity_under_the_same_key_does_not_count(here):
    sink = Stores().sink(here.out)
    with lookup(Stores().source(here.compiled(SMALL)), sink) as name:
        key, identity = name.resolve()
        with sink.open(lambda: (key, identity[::-1])) as upload:
            upload.write(b"other")
            upload.commit()
        assert name.found() is None


def test_an_artifact_that_is_not_there_fails_when_its_identity_is_asked_for(here):
    with lookup(Stores().source(str(here.root / "none")), Stores().sink(here.out)) as name:
        with pytest.raises(ArtifactNotFoundError):
            name.resolve()
        with pytest.raises(ArtifactNotFoundError):
            name.found()


def test_a_component_that_turns_out_to_be_there_half_way_is_left_alone(here):
    uri = here.compiled(LARGE)
    first = make(Stores().source(uri), here.out)
    written = Path(first.stored.uri).stat().st_ino
    again = Stores().source(uri)
    _ = again.identity()  # so that the first look finds it
    second = make(again, here.out)
    assert (first.new, second.new, second.files, second.stored) == (True, False, 0, first.stored)
    assert here.published() == {first.stored.uri}
    assert Path(first.stored.uri).stat().st_ino == written


def test_the_check_is_told_the_key_and_every_entry_and_what_it_raises_leaves_no_trace(here):
    source = Stores().source(here.compiled(SMALL))
    told = []
    made = make(
        source, here.out, check=lambda key, written: told.append((key, [each.name for each in written.entries]))
    )
    [(key, names)] = told
    assert made.stored.uri.endswith(key)
    assert names == ["first", *(f"files/{name}" for name in SMALL.files)]

    def refuse(_key, _written):
        raise LookupError

    with pytest.raises(LookupError):
        make(source, str(here.root / "refused"), check=refuse)
    assert not (here.root / "refused").exists()


def test_a_report_that_raises_ends_the_work_without_a_trace(here):
    def report(packed_bytes, _files):
        if packed_bytes:
            raise LookupError

    with pytest.raises(LookupError):
        make(Stores().source(here.compiled(LARGE)), here.out, report=report)
    assert here.published() == set()


def test_reports_grow_up_to_the_whole_artifact(here):
    uri = here.compiled(LARGE)
    reports = []
    made = make(Stores().source(uri), here.out, report=lambda *each: reports.append(each))
    assert reports == sorted(reports)
    assert made.read_bytes == reports[-1][0] == Path(uri).stat().st_size
    assert reports[-1][1] == made.files == 2


def test_members_that_are_left_half_way_free_their_file(here):
    source = Stores().source(str(models.neo(here.root / "neo.tar.gz", 3 << 20)))
    with Archive(source).open(Settings()) as archive:
        with closing(archive.files()) as members, suppress(StopIteration):
            assert next(members).path == "compiled.meta"
        assert archive.packed_bytes < source.size_bytes()
