"""Test `pytest-trt comment` against a server that answers as GitHub and GitLab do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from samples.code_host import TOKEN, CodeHostServer, code_host
from samples.records import measurement
from samples.reports import compared
from samples.runs import Run, write_run

from pytest_trt.cli import http_api

OWN = "<!-- pytest-trt comment: performance -->\nold"
HEAD = {"sha": "a1", "repo": {"full_name": "team/models"}}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[CodeHostServer]:
    """A server, and no variables of a CI service but those of the test."""
    for name in ("GITHUB_REPOSITORY", "GITHUB_TOKEN", "GH_TOKEN", "GITLAB_TOKEN", "CI_JOB_TOKEN", "CI_API_V4_URL"):
        monkeypatch.delenv(name, raising=False)
    with code_host() as server:
        yield server


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the command would have waited."""
    waited: list[float] = []
    monkeypatch.setattr(http_api.Api.__init__, "__defaults__", (waited.append,))
    return waited


@pytest.fixture
def github(host: CodeHostServer, monkeypatch: pytest.MonkeyPatch, run: Run) -> CodeHostServer:
    """A job of GitHub on pull request 12."""
    write_run("run.json", measurement(), verdicts=[compared("regressed", 1.11)])
    set_event({"pull_request": {"number": 12, "head": HEAD}}, monkeypatch)
    variables = {"GITHUB_REPOSITORY": "team/models", "GITHUB_API_URL": host.url, "GITHUB_TOKEN": TOKEN}
    variables |= {"GITLAB_CI": "", "GITHUB_SERVER_URL": "https://github.example", "GITHUB_RUN_ID": "7"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return host


@pytest.fixture
def gitlab(host: CodeHostServer, monkeypatch: pytest.MonkeyPatch, run: Run) -> CodeHostServer:
    """A job of GitLab on merge request 3 of project 42."""
    write_run("run.json", measurement(), verdicts=[compared("regressed", 1.11)])
    variables = {"GITLAB_CI": "true", "CI_API_V4_URL": host.url, "CI_PROJECT_ID": "42", "CI_MERGE_REQUEST_IID": "3"}
    for name, value in {**variables, "GITLAB_TOKEN": TOKEN, "GITLAB_USER_LOGIN": "bob"}.items():
        monkeypatch.setenv(name, value)
    return host


def set_event(event: object, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("event.json").write_text(json.dumps(event))
    monkeypatch.setenv("GITHUB_EVENT_PATH", "event.json")


def test_github_gets_one_comment_that_is_updated(github: CodeHostServer, run: Run) -> None:
    github.add(OWN.replace("-->", "by somebody -->"))
    github.add(OWN, "attacker", "User")
    status, out, _ = run("comment", "--from=run.json")
    assert (status, out) == (0, "wrote the comment 'performance' on pull request 12 of team/models\n")
    first = github.comments[-1]["body"]
    assert first.startswith("<!-- pytest-trt comment: performance -->")
    assert "[Report](https://github.example/team/models/actions/runs/7)" in first
    status, out, _ = run("comment", "--from=run.json", "--report-url=https://r.example")
    assert (status, out[:8], len(github.comments)) == (0, "updated ", 3)
    assert "https://r.example" in github.comments[-1]["body"]
    assert github.seen[-1] == "PATCH /repos/team/models/issues/comments/102"
    assert run("comment", "--from=run.json", "--name=L4")[1].startswith("wrote")


def test_own_comment_is_found_on_a_later_page(github: CodeHostServer, run: Run) -> None:
    github.user = "ci-user"
    for number in range(250):
        github.add(f"comment {number}")
    github.add(OWN, "ci-user", "User")
    assert run("comment", "--from=run.json")[1].startswith("updated")
    assert sum("issues/12/comments" in path for path in github.seen) == 3


def test_gitlab_gets_one_comment_that_is_updated(gitlab: CodeHostServer, run: Run) -> None:
    gitlab.user = "project_42_bot"
    gitlab.add(OWN, "bob")
    for word in ("wrote", "updated"):
        assert run("comment", "--from=run.json")[:2] == (
            0, f"{word} the comment 'performance' on merge request 3 of project 42\n",
        )  # fmt: skip
    assert gitlab.seen[-1] == "PUT /projects/42/merge_requests/3/notes/101"


def test_rate_limits_are_waited_for(github: CodeHostServer, run: Run, waits: list[float]) -> None:
    github.planned = [
        (429, {"Retry-After": "3"}, {"message": "slow down"}),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}, {"message": "rate limit"}),
    ]
    assert run("comment", "--from=run.json")[0] == 0
    assert waits == [3, 0]
    github.planned = [(403, {"Retry-After": "900"}, {"message": "secondary rate limit"})]
    status, _, err = run("comment", "--from=run.json")
    assert (status, "asks to wait 900 s" in err, "run the command again later" in err) == (2, True, True)


def test_only_a_request_that_can_be_repeated_is(github: CodeHostServer, run: Run, waits: list[float]) -> None:
    github.planned = [(502, {}, b"<html>bad gateway")]
    status, _, err = run("comment", "--from=run.json")
    assert (status, waits, "HTTP 502" in err, github.comments) == (2, [], True, [])
    github.add(OWN)
    github.planned = [(502, {}, b"<html>bad gateway")]
    assert (run("comment", "--from=run.json")[0], waits) == (0, [1])


def test_missing_rights_say_what_to_do(github: CodeHostServer, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    denied = (403, {}, {"message": f"Resource not accessible by integration {TOKEN}"})
    github.planned = [denied]
    status, out, err = run("comment", "--from=run.json")
    assert (status, "permissions: pull-requests: write" in err, TOKEN in out + err) == (2, True, False)
    set_event({"pull_request": {"number": 12, "head": {**HEAD, "repo": None}}}, monkeypatch)
    github.planned = [denied]
    status, out, err = run("comment", "--from=run.json")
    assert (status, "comes from a fork" in out, "workflow_run" in out, err) == (0, True, True, "")
    monkeypatch.setenv("GITHUB_TOKEN", "wrong-token")
    set_event({"pull_request": {"number": 12, "head": HEAD}}, monkeypatch)
    status, out, err = run("comment", "--from=run.json")
    assert (status, "has expired" in err, "wrong-token" in out + err) == (2, True, False)
    monkeypatch.delenv("GITHUB_TOKEN")
    assert "give the step env" in run("comment", "--from=run.json")[2]


def test_gitlab_without_rights(gitlab: CodeHostServer, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    gitlab.planned = [(404, {}, {"message": "404 Not found"})]
    status, _, err = run("comment", "--from=run.json")
    assert (status, "GITLAB_TOKEN" in err, "scope api" in err) == (2, True, True)
    monkeypatch.delenv("GITLAB_TOKEN")
    assert "neither GITLAB_TOKEN nor CI_JOB_TOKEN" in run("comment", "--from=run.json")[2]
    monkeypatch.setenv("CI_JOB_TOKEN", TOKEN)
    assert run("comment", "--from=run.json")[0] == 0
    monkeypatch.delenv("CI_JOB_TOKEN")
    monkeypatch.setenv("CI_MERGE_REQUEST_PROJECT_ID", "42")
    monkeypatch.setenv("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "43")
    status, out, _ = run("comment", "--from=run.json")
    assert (status, "comes from a fork" in out) == (0, True)


def test_a_finished_workflow_comments_on_the_pull_request_of_its_commit(
    github: CodeHostServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    github.pulls = [{"number": 4, "head": {"sha": "b2"}}, {"number": 5, "head": {"sha": "a1"}}]
    finished = {"head_sha": "a1", "head_branch": "fix", "head_repository": {"owner": {"login": "guest"}}}
    set_event({"workflow_run": finished}, monkeypatch)
    assert "pull request 5 of team/models" in run("comment", "--from=run.json")[1]
    set_event({"workflow_run": {**finished, "head_sha": "c3"}}, monkeypatch)
    assert run("comment", "--from=run.json")[:2] == (
        0, "this job is about no pull or merge request: no comment was written; name one with --number\n",
    )  # fmt: skip


def test_redirects_do_not_get_the_token(github: CodeHostServer, run: Run) -> None:
    github.planned = [(307, {"Location": f"{github.url}/elsewhere"}, {})]
    status, _, err = run("comment", "--from=run.json")
    assert (status, "is not followed" in err) == (2, True)
    assert not any("elsewhere" in path for path in github.seen)


def test_invalid_variables_and_arguments(github: CodeHostServer, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--number is 0" in run("comment", "--from=run.json", "--number=0")[2]
    assert "--wait is nan" in run("comment", "--from=run.json", "--wait=nan")[2]
    assert "--name is '-->'" in run("comment", "--from=run.json", "--name=-->")[2]
    assert "absent.json cannot be read" in run("comment", "--from=absent.json")[2]
    for name, value, message in (
        ("GITHUB_EVENT_PATH", "absent", "name the pull request with --number"),
        ("GITHUB_TOKEN", f"{TOKEN}\nX-Evil: 1", "the token has spaces or characters"),
        ("GITHUB_API_URL", "file:///etc", "GITHUB_API_URL is 'file:///etc'"),
        ("GITHUB_API_URL", "http://127.0.0.1:1", "cannot be reached"),
        ("GITHUB_REPOSITORY", "team/../x", "it must be OWNER/NAME"),
        ("GITHUB_REPOSITORY", "", "neither GITHUB_REPOSITORY nor CI_API_V4_URL"),
    ):
        with monkeypatch.context() as patched:
            patched.setenv(name, value)
            status, out, err = run("comment", "--from=run.json", "--wait=0")
            assert (status, message in err, TOKEN in out + err) == (2, True, False), err


def test_dry_run_prints_the_comment_and_needs_no_ci(host: CodeHostServer, run: Run) -> None:
    write_run("run.json", measurement(), verdicts=[compared("regressed", 1.11)])
    status, out, _ = run("comment", "--from=run.json", "--dry-run")
    assert (status, out.startswith("<!-- pytest-trt comment"), host.seen) == (0, True, [])
