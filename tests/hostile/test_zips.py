from __future__ import annotations

import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packager.device.component_zip import read_listing
from packager.device.rules import check
from packager.errors import PackagerError
from packager.model.targets import TARGETS
from packager.settings import Settings
from tests.hostile import java as java_
from tests.hostile import zips

FILE_NAME = "0123456789ab_greengrass_model_component.zip"


@pytest.fixture(scope="module")
def java(tmp_path_factory):
    yield from java_.running(tmp_path_factory.mktemp("java"))


def faults(data):
    """What `check` finds: the error that ends it, or its findings; and what it believes is unpacked."""
    try:
        listing = read_listing(
            lambda offset, length: data[offset : offset + length], len(data), FILE_NAME, Settings(), verify=True
        )
    except PackagerError as error:
        return [error], ()
    return check(listing, TARGETS["jetson-xavier"]), listing.entries


@pytest.mark.parametrize("name", zips.sound())
def test_a_sound_zip_of_any_maker_has_no_faults_and_java_unpacks_it(java, tmp_path, name):
    path = tmp_path / FILE_NAME
    path.write_bytes(zips.sound()[name])
    found, entries = faults(zips.sound()[name])
    assert [each.rule for each in found] == (["leading-bytes"] if "before it" in name else [])
    assert [(size, name) for size, _, name in java.unpack(path)] == [
        (each.size_bytes, each.name.encode().hex()) for each in entries if not each.is_folder
    ]


@pytest.mark.parametrize("name", zips.lying())
def test_a_lying_zip_has_a_fault_that_is_told_in_printable_words(name):
    found, _ = faults(zips.lying()[name])
    assert found
    for each in found:
        assert each.message.isprintable()
        assert each.next_step


@pytest.mark.parametrize("name", zips.lying())
def test_java_does_not_loop_over_a_lying_zip(java, tmp_path, name):
    path = tmp_path / FILE_NAME
    path.write_bytes(zips.lying()[name])
    java.unpack(path)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_what_java_refuses_or_unpacks_to_something_else_is_found(java, tmp_path_factory, record_property, data):
    """Whatever few bytes of a ZIP are changed: where no fault is found, Java unpacks what the directory says."""
    record_property("tried", 1)
    whole = bytearray(data.draw(st.sampled_from([*zips.sound().values(), *zips.lying().values()])))
    for _ in range(data.draw(st.integers(1, 3))):
        if whole:
            at = data.draw(st.integers(0, len(whole) - 1) | st.integers(max(0, len(whole) - 500), len(whole) - 1))
            whole[at] = data.draw(st.sampled_from([0, 1, 2, 8, 0x50, 0x7F, 0xFF]) | st.integers(0, 255))
    found, entries = faults(bytes(whole))
    if not found:
        path = tmp_path_factory.mktemp("zip") / FILE_NAME
        path.write_bytes(whole)
        unpacked = java.unpack(path)
        assert unpacked is not None
        assert [(size, name) for size, _, name in unpacked] == [
            (each.size_bytes, each.name.encode().hex()) for each in entries if not each.is_folder
        ]


def test_java_unpacks_the_bytes_that_the_checksums_are_of(java, tmp_path):
    path = tmp_path / FILE_NAME
    path.write_bytes(zips.sound()["a plain one"])
    assert [crc for _, crc, _ in java.unpack(path)] == [zlib.crc32(part.data) for part in zips.component()]
