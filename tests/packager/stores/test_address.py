from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packager.errors import RequestError
from packager.stores import Stores


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("/data/model.tar.gz", "/data/model.tar.gz"),
        ("file:///data/a%20model.tar.gz", "/data/a model.tar.gz"),
        ("/data/a%20model.tar.gz", "/data/a%20model.tar.gz"),
        ("/data/16:9/model.tar.gz", "/data/16:9/model.tar.gz"),
        ("s3://bucket/a/model.tar.gz", "s3://bucket/a/model.tar.gz"),
        ("s3://bucket/what?is=this#key%20", "s3://bucket/what?is=this#key%20"),
    ],
)
def test_an_artifact_is_where_its_uri_says(s3_server, uri, shown):
    assert Stores(endpoint_url=s3_server.endpoint_url).source(uri).uri == shown


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("/data/out/", "/data/out"),
        ("file:///data/out", "/data/out"),
        ("s3://bucket", "s3://bucket/"),
        ("s3://bucket/", "s3://bucket/"),
        ("s3://bucket/pre/fix", "s3://bucket/pre/fix/"),
        ("s3://bucket/pre/fix/", "s3://bucket/pre/fix/"),
    ],
)
def test_components_go_where_the_uri_says(s3_server, uri, shown):
    assert Stores(endpoint_url=s3_server.endpoint_url).sink(uri).uri == shown


def test_a_plain_path_is_meant_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = Stores().source("model.tar.gz")
    monkeypatch.chdir("/")
    assert source.uri == str(tmp_path / "model.tar.gz")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "http://host/model",
        "s3:/bucket/key",
        "file://host/path",
        "file:/path",
        "S3://bucket/key",
        "s3://",
        "s3:///key",
        "s3://b/key",
        "s3://bu cket/key",
        "s3://user:secret@bucket/key",
        "a\0b",
        "file:///a%00b",
        None,
        7,
    ],
)
@pytest.mark.parametrize("opened", [Stores().source, Stores().sink])
def test_anything_else_is_refused_with_what_would_be_taken(opened, uri):
    with pytest.raises(RequestError, match="Accepted: s3://bucket"):
        opened(uri)


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/", "s3://bucket/folder/"])
def test_an_artifact_needs_a_key(uri):
    with pytest.raises(RequestError, match="no object"):
        Stores().source(uri)


def test_a_refusal_repeats_no_secret():
    with pytest.raises(RequestError) as caught:
        Stores().source("https://user:password@host/model?X-Amz-Signature=secret")
    assert "password" not in str(caught.value)
    assert "secret" not in str(caught.value)


@given(st.text(max_size=40) | st.text(max_size=40).map("s3://{}".format) | st.text(max_size=40).map("file://{}".format))
def test_any_text_is_a_store_or_a_refusal(uri):
    stores = Stores(_NoClient())
    for opened in (stores.source, stores.sink):
        try:
            opened(uri)
        except RequestError as error:
            assert error.next_step  # noqa: PT017  either outcome is right


class _NoClient:
    """Knows nothing of S3."""


def test_files_are_read_without_loading_what_speaks_s3():
    code = "import sys; from packager.stores import Stores; Stores().source('a'), Stores().sink('b');"
    shown = subprocess.run(
        [sys.executable, "-c", f"{code} print([m for m in sys.modules if m.startswith(('boto', 'urllib3'))])"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() == "[]"
