"""The sizes of parts, against what S3 allows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from packager.stores.s3_checksums import as_checksum
from packager.stores.s3_multipart import MOST_PARTS, part_size_bytes

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40


@given(st.integers(1, MOST_PARTS))
def test_every_part_has_a_size_that_s3_takes(number):
    assert 5 * MIB <= part_size_bytes(number) <= 5 * GIB


@given(st.integers(1, MOST_PARTS - 1))
def test_parts_never_shrink(number):
    assert part_size_bytes(number) <= part_size_bytes(number + 1)


def test_the_largest_object_of_s3_fits_in_its_ten_thousand_parts():
    assert sum(map(part_size_bytes, range(1, MOST_PARTS + 1))) >= 5 * TIB


def test_a_component_of_eight_gib_needs_no_more_memory_than_a_small_one():
    held, number = 0, 0
    while held < 8 * GIB:
        number += 1
        assert part_size_bytes(number) == 8 * MIB
        held += part_size_bytes(number)


def test_a_checksum_is_four_bytes_in_network_order():
    # CRC-32 of b"123456789", the check value of the catalogue of CRCs, as `aws s3api` shows it.
    assert as_checksum(0xCBF43926) == "y/Q5Jg=="
