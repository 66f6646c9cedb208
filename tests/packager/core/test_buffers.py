from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from packager.core.buffers import Pool


def test_a_buffer_comes_back_when_the_last_view_of_it_is_gone():
    pool = Pool(100)
    view, address = pool.take()
    part = view[10:20][2:]
    del view
    other, _ = pool.take()
    assert other.c_contiguous
    del part
    assert pool.take()[1] == address


@given(st.lists(st.integers(0, 5), max_size=60))
def test_no_buffer_is_lent_twice_at_a_time_and_no_more_exist_than_were_in_use_together(actions):
    pool, held, most = Pool(64), {}, 0
    for number, action in enumerate(actions):
        if action > 1 or not held:
            view, _ = pool.take()
            view[:] = bytes([number % 256]) * 64
            held[number] = view[action : action + 30]
            del view
        else:
            held.pop(next(iter(held)))
        most = max(most, len(held))
        assert all(bytes(part) == bytes([n % 256]) * 30 for n, part in held.items())
        assert len(pool._free) + len(pool._lent) == most


def test_buffers_may_be_given_back_in_another_thread():
    pool = Pool(64)
    addresses = set()
    for _ in range(50):
        box = [pool.take()]
        addresses.add(box[0][1])
        thread = threading.Thread(target=box.clear)
        thread.start()
        thread.join()
    assert len(addresses) == 1
