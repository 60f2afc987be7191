"""The location of baselines: whatever the credentials in a URL are, no text shows them."""

from __future__ import annotations

import copy
import logging
import pickle
import urllib.parse

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pytest_trt.core.location import WITHHELD, Location, hidden_in_logs, mask_command, mask_url, mask_urls
from pytest_trt.spec.settings import Settings

USER_INFO = (
    "memory://{}@h/x", "memory://u:{}@h/x", "memory://u:{}@h/x?versionId=4", "sftp://u:{}@h/x", "s3://{}@h/x",
    "s3://AKIA:{}@h/x", "simplecache::s3://k:{}@h/x", "zip://a.zip::sftp://u:{}@h/x", "https://{}@h/x",
    "https://{}:@h/x", "https://{}:x-oauth-basic@h/x",
)  # fmt: skip
QUERY = ("https://h/x?sig={}", "https://h/x?sv=2022&token={}", "az://h/x?{}", "simplecache::https://h/x?a=1&b={}",
         "https://h/x?a=1#{}", "https://h/x;sig={}")  # fmt: skip
SECRETS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("memory://u:secret@h/x", "memory://***@h/x"),
        ("sftp://token@h/x", "sftp://***@h/x"),
        ("sftp://u:p@ss/w@rd@h:22/x", "sftp://***@h:22/x"),
        ("s3://AKIA:abc/def+gh@bucket/x", "s3://***@bucket/x"),
        ("simplecache::s3://k:s@b/x", "simplecache::s3://***@b/x"),
        ("zip://a.zip::s3://k:s@b/x", "zip://***@b/x"),
        ("smb://domain;u:p@h/x", "smb://***"),
        ("https://h/x?sig=abc&se=1", "https://h/x?***"),
        ("https://h/x?sig=ab@cd", "https://***"),
        ("sftp://u:p?w#d@h/x", "sftp://***"),
        ("sftp://u:forgotten-at/h", "sftp://***"),
        ("file://u:secret@h/x", "file://***@h/x"),
        ("'s3://k:secret@h/x'", "***://***"),
    ],
)
def test_credentials_in_a_url_are_masked(url: str, shown: str) -> None:
    assert str(Location(url)) == shown
    assert mask_url(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        ".trt-baselines", "/home/a@b/x", "a:b", "s3://bucket/folder", "gs://bucket", "sftp://h:22/x",
        "sftp://[::1]:22/x", "memory://x", "file:///home/me@work/x", "abfs://data@account.dfs.core.windows.net/x",
        "simplecache::s3://bucket/x",
    ],
)  # fmt: skip
def test_location_without_credentials_is_shown_unchanged(text: str) -> None:
    assert str(Location(text)) == text
    assert not Location(text).has_credentials
    assert Location(text).hide_in(f"no {text}") == f"no {text}"


@given(SECRETS, st.sampled_from(USER_INFO))
@example("se/cr?et", "sftp://u:{}@h/x")
@example("a::s3://b@c", "sftp://u:{}@h/x")
@example("#", "memory://u:{}@h/x")
def test_user_information_never_changes_what_is_shown(secret: str, form: str) -> None:
    scheme = form.partition("://")[0] + "://"
    masked = {f"{scheme}***@h/x", f"{scheme}***@h/x?***", f"{scheme}***"}
    assert str(Location(form.format(secret))) in masked


@given(SECRETS, st.sampled_from(QUERY))
def test_query_never_changes_what_is_shown(secret: str, form: str) -> None:
    scheme = form.partition("://")[0] + "://"
    assert str(Location(form.format(secret))) in {f"{scheme}h/x{mark}***" for mark in "?#;"} | {f"{scheme}***"}


@given(SECRETS, st.sampled_from(USER_INFO + QUERY), st.booleans())
@example(";", "https://h/x?sig={}", False)
def test_error_of_a_library_does_not_contain_the_credential(secret: str, form: str, quoted: bool) -> None:
    url = form.format(urllib.parse.quote(secret, safe="") if quoted else secret)
    location, plain = Location(url), urllib.parse.unquote(secret) if quoted else secret
    error = f"401 for {url}: {secret!r} {plain} {secret.upper()} {urllib.parse.quote(secret)}"
    shown = location.hide_in(error)
    assert location.hide_in("no route") in ("no route", WITHHELD)
    assume(secret not in WITHHELD)
    assume(secret not in "401 for : '', ***" and secret not in form)
    assert secret not in shown
    assert secret.upper() not in shown or secret.upper() in form


@given(SECRETS.filter(lambda text: len(text) > 5))
def test_no_form_of_the_settings_shows_the_credential(secret: str) -> None:
    settings = Settings(baseline_dir=Location(f"sftp://u:{secret}@h/x"))
    assume(secret not in repr(Settings()))
    for shown in (repr(settings), str(settings.baseline_dir), f"{settings.baseline_dir!r}", repr([settings])):
        assert secret not in shown


@given(
    st.text(st.characters(codec="utf-8", exclude_characters=" \t\n\r'\"<>`", exclude_categories=["Z", "C"]), min_size=1)
)
def test_urls_in_any_text_are_masked(secret: str) -> None:
    text = mask_urls(f"cannot clone 'sftp://u:{secret}@host/x', nor https://host/x?token={secret}")
    assert text in {
        f"cannot clone 'sftp://***{end}', nor https://{tail}" for end in ("", "@host/x")
        for tail in ("***", "host/x?***", "***@" + secret.rpartition("@")[2])
    }  # fmt: skip
    assert mask_urls(text) == text


def test_short_credential_withholds_the_whole_text() -> None:
    assert Location("sftp://u:pw@h/x").hide_in("the pw is wrong") == WITHHELD
    assert Location("sftp://u:pw@h/x").hide_in("no route") == "no route"


def test_location_reveals_its_credentials_to_the_library() -> None:
    location = Location("sftp://u:secret@h/x")
    for same in (pickle.loads(pickle.dumps(location)), copy.deepcopy(location)):
        assert same == location
        assert hash(same) == hash(location)
        assert same.reveal() == "sftp://u:secret@h/x"


def test_name_after_a_url_is_not_split_from_its_password() -> None:
    assert Location("s3://bucket/x#release").split_name() == (Location("s3://bucket/x"), "release")
    assert Location("sftp://u:p#w@h/x").split_name() == (Location("sftp://u:p#w@h/x"), "")
    assert Location("stored#release").split_name() == (Location("stored"), "release")


def test_log_of_a_library_does_not_contain_the_credential(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("client")
    with hidden_in_logs(Location("https://h/x?sig=abcdef")):
        log.warning("retry of %s", "/x?sig=abcdef")
        log.warning("lost", exc_info=OSError("abcdef"))
    log.warning("abcdef")
    assert "abcdef" not in "".join(record.getMessage() + str(record.exc_info) for record in caplog.records[:2])
    assert caplog.records[0].getMessage() == "retry of /x?sig=***"
    assert caplog.records[2].getMessage() == "abcdef"


@pytest.mark.parametrize(
    ("words", "masked"),
    [
        (["--dir=s3://u:pw@h/x?k=v"], ("--dir=s3://***@h/x?***",)),
        (["--dir", "s3://u:p w@h/x"], ("--dir", "s3://***@h/x")),
        (["--api-token=abc", "-o", "db_password=abc"], ("--api-token=***", "-o", "db_password=***")),
        (["--auth", "abc", "tests"], ("--auth", "***", "tests")),
        (["-k", "token", "--author=me", "test_key.py::test_token[a=b]"],
         ("-k", "token", "--author=me", "test_key.py::test_token[a=b]")),
    ],
)  # fmt: skip
def test_command_shows_no_credentials(words: list[str], masked: tuple[str, ...]) -> None:
    assert mask_command(words) == masked
