"""Settings of the packager and of the function behind the portal."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packager.errors import SettingsError
from packager.portal.settings import PortalSettings
from packager.settings import Settings

RECORDS = (Settings, PortalSettings)
EVERY = [(record, each) for record in RECORDS for each in fields(record)]


def shown(default):
    return str(default).lower() if isinstance(default, bool) else str(default)


@pytest.mark.parametrize("record", RECORDS)
def test_an_empty_environment_gives_the_defaults_and_so_do_the_defaults_spelled_out(record):
    assert record.from_environment({}) == record()
    assert (
        record.from_environment({each.metadata["variable"]: shown(each.default) for each in fields(record)}) == record()
    )


@given(st.sampled_from(EVERY), st.text(max_size=20) | st.integers(-2, 10).map(str))
def test_a_variable_is_taken_or_refused_by_its_name_with_a_next_step(setting, text):
    record, each = setting
    variable = each.metadata["variable"]
    refused = None
    try:
        taken = getattr(record.from_environment({variable: text}), each.name)
    except SettingsError as error:
        refused = error
    if refused:
        assert refused.next_step
        assert variable in refused.message
        return
    assert type(taken) is type(each.default) or isinstance(taken, Path)
    if type(each.default) is int:
        assert taken == int(text) >= each.metadata["least"]
    elif isinstance(each.default, str):
        assert taken == text.strip()


@pytest.mark.parametrize(
    ("record", "variable", "value", "wanted"),
    [
        (Settings, "SCRATCH_DIR", "", "the path of a folder"),
        (Settings, "SCRATCH_DIR", "  ", "the path of a folder"),
        (Settings, "MAX_ATTEMPTS", "0", "at least 1"),
        (Settings, "MAX_ATTEMPTS", "", "a whole number"),
        (Settings, "ABANDONED_UPLOAD_AGE", "-1", "at least 0"),
        (Settings, "ENABLE_STREAMING_PROCESSING", "maybe", "true or false"),
        (PortalSettings, "TIME_RESERVE_S", "1", "at least 2"),
        (PortalSettings, "AUDIT_DAYS", "1.5", "a whole number"),
        (PortalSettings, "TRAINING_JOBS_TABLE", "a table", "of the form"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_with_what_is_wanted(record, variable, value, wanted):
    with pytest.raises(SettingsError, match=f"^{variable} is .*; it must be {wanted}") as caught:
        record.from_environment({variable: value})
    shown = int(value) if wanted.startswith("at least") else value.strip()
    assert (caught.value.setting, caught.value.value) == (variable, shown)


def test_the_warning_level_may_not_lie_above_the_critical_one():
    with pytest.raises(SettingsError, match="STORAGE_WARNING_THRESHOLD"):
        Settings.from_environment({"STORAGE_WARNING_THRESHOLD": "3", "STORAGE_CRITICAL_THRESHOLD": "2"})
    assert Settings(storage_warning_bytes=2, storage_critical_bytes=2).storage_warning_bytes == 2


def test_a_record_made_by_hand_is_checked_like_the_environment():
    with pytest.raises(SettingsError, match="MAX_CONCURRENT_OPERATIONS is 0; it must be at least 1"):
        Settings(max_concurrent_operations=0)
