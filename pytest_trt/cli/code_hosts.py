"""The comments on a pull request of GitHub or a merge request of GitLab, as the variables of a CI job describe it."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from pytest_trt.cli.http_api import Api, Refused
from pytest_trt.core.scalars import short_repr
from pytest_trt.errors import CommentError

_MAX_EVENT = 64 << 20
_DENIED = (401, 403, 404)
"""The statuses of a missing right. GitHub and GitLab answer 404 where a token may not know that something exists."""

_GITHUB_FORK = (
    "the pull request comes from a fork, whose token can only read: comment from a workflow on workflow_run, as the "
    "guide on CI describes, or read the report of the job"
)
_GITLAB_FORK = (
    "the merge request comes from a fork, whose pipeline has no token of this project: let a member of the project run "
    "the pipeline of the merge request, or read the report of the job"
)


class CodeHost(Protocol):
    """The pull or merge request that a job is about.

    Attributes:
        request: Its name, such as `pull request 12 of owner/name`; empty if the job is about none.
        job_url: The page of the job; empty if it is not known.
        fork_advice: What to do if the job may not comment because the request comes from a fork; else empty.
    """

    request: str
    job_url: str
    fork_advice: str

    def find(self, marker: str) -> int | None:
        """Return the number of the own comment that begins with the marker, or None."""
        ...

    def create(self, body: str) -> None:
        """Write a new comment."""
        ...

    def update(self, comment: int, body: str) -> None:
        """Replace the text of a comment."""
        ...

    def remedy(self, refused: Refused) -> str:
        """Return what to do about a refusal; empty if nothing is known."""
        ...


def open_host(variables: Mapping[str, str], number: int | None, wait_s: float) -> CodeHost:
    """Return the pull or merge request that the variables of a CI job describe.

    Args:
        variables: The environment variables.
        number: The number of the request, in place of the job's own.
        wait_s: How long to wait for rate limits.

    Raises:
        CommentError: A variable is missing or invalid.
    """
    if variables.get("GITHUB_REPOSITORY") and variables.get("GITLAB_CI") != "true":
        return GitHub(variables, number, wait_s)
    if variables.get("CI_API_V4_URL"):
        return GitLab(variables, number, wait_s)
    raise CommentError(
        "neither GITHUB_REPOSITORY nor CI_API_V4_URL is set: run this in a job of GitHub Actions or GitLab CI, or look "
        "at the comment with --dry-run"
    )


class GitHub:
    """A pull request of GitHub; see CodeHost."""

    def __init__(self, variables: Mapping[str, str], number: int | None, wait_s: float) -> None:
        repository = variables["GITHUB_REPOSITORY"]
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository, re.ASCII):
            raise CommentError(f"GITHUB_REPOSITORY is {short_repr(repository)}: it must be OWNER/NAME")
        event = _read_event(variables.get("GITHUB_EVENT_PATH", ""))
        pull = _mapping(event.get("pull_request"))
        source = _mapping(_mapping(pull.get("head")).get("repo")).get("full_name")
        is_fork = bool(pull) and str(source).lower() != repository.lower()
        self.fork_advice = _GITHUB_FORK if is_fork else ""
        self._path = f"/repos/{repository}"
        token = variables.get("GITHUB_TOKEN") or variables.get("GH_TOKEN") or ""
        url = variables.get("GITHUB_API_URL") or "https://api.github.com"
        self._api = Api(url, "GITHUB_API_URL", ("Authorization", "Bearer "), token, wait_s)
        found, run = number or _number(pull.get("number")), _mapping(event.get("workflow_run"))
        if (found or run) and not token and not is_fork:
            raise CommentError(
                "GITHUB_TOKEN is not set: give the step env: GITHUB_TOKEN: ${{ github.token }}, and the job "
                "permissions: pull-requests: write"
            )
        self._number = found or (self._pull_request_of(run) if run else 0)
        self.request = f"pull request {self._number} of {repository}" if self._number else ""
        server, run_id = variables.get("GITHUB_SERVER_URL", ""), variables.get("GITHUB_RUN_ID", "")
        self.job_url = f"{server}/{repository}/actions/runs/{run_id}" if server and run_id.isdecimal() else ""

    def _pull_request_of(self, run: Mapping[str, Any]) -> int:
        """Return the open pull request whose newest commit a finished workflow ran on, or 0.

        The event names no pull request of a fork, and what the workflow of a fork wrote is not to be trusted.
        """
        owner = _mapping(_mapping(run.get("head_repository")).get("owner")).get("login")
        head = f"{owner}:{run.get('head_branch')}"
        try:
            pulls = list(self._api.pages(f"{self._path}/pulls", state="open", head=head))
        except Refused as refused:
            raise CommentError(f"the pull request cannot be found ({refused}): name it with --number") from refused
        same = (pull for pull in pulls if _mapping(pull.get("head")).get("sha") == run.get("head_sha"))
        return _number(next(same, {}).get("number"))

    def find(self, marker: str) -> int | None:
        """Return the number of the own comment that begins with the marker, or None.

        Whoever wrote a comment can change it later, so that of another user is not taken. The token of a job may not
        ask who it belongs to: it belongs to a bot.
        """
        try:
            login = _mapping(self._api.call("GET", "/user").data).get("login")
        except Refused as refused:
            if refused.status not in _DENIED:
                raise
            login = None
        for comment in self._api.pages(f"{self._path}/issues/{self._number}/comments"):
            user = _mapping(comment.get("user"))
            own = user.get("login") == login if login else user.get("type") == "Bot"
            if own and str(comment.get("body")).startswith(marker):
                return _number(comment.get("id"))
        return None

    def create(self, body: str) -> None:
        """Write a new comment."""
        self._api.call("POST", f"{self._path}/issues/{self._number}/comments", {"body": body})

    def update(self, comment: int, body: str) -> None:
        """Replace the text of a comment."""
        self._api.call("PATCH", f"{self._path}/issues/comments/{comment}", {"body": body})

    def remedy(self, refused: Refused) -> str:
        """Return what to do about a refusal; empty if nothing is known."""
        if refused.status == 401:
            return "GITHUB_TOKEN is wrong or has expired: use ${{ github.token }}"
        if refused.status in _DENIED:
            return "the token has no right to comment: give the job permissions: pull-requests: write"
        return ""


class GitLab:
    """A merge request of GitLab; see CodeHost."""

    def __init__(self, variables: Mapping[str, str], number: int | None, wait_s: float) -> None:
        project, text = variables.get("CI_PROJECT_ID", ""), variables.get("CI_MERGE_REQUEST_IID", "")
        target = variables.get("CI_MERGE_REQUEST_PROJECT_ID") or project
        if not target:
            raise CommentError("CI_PROJECT_ID is not set: run this in a job of GitLab CI")
        if text and not text.isdecimal():
            raise CommentError(f"CI_MERGE_REQUEST_IID is {short_repr(text)}: it must be the number of a merge request")
        is_fork = variables.get("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", target) != target
        self.fork_advice = _GITLAB_FORK if is_fork else ""
        own, job = variables.get("GITLAB_TOKEN", ""), variables.get("CI_JOB_TOKEN", "")
        header = "PRIVATE-TOKEN" if own else "JOB-TOKEN"
        self._api = Api(variables["CI_API_V4_URL"], "CI_API_V4_URL", (header, ""), own or job, wait_s)
        found = number or int(text or 0)
        self._path = f"/projects/{urllib.parse.quote(target, safe='')}/merge_requests/{found}/notes"
        self._user = variables.get("GITLAB_USER_LOGIN", "")
        self.request = f"merge request {found} of project {target}" if found else ""
        if found and not (own or job) and not is_fork:
            raise CommentError(f"neither GITLAB_TOKEN nor CI_JOB_TOKEN is set: {_GITLAB_REMEDY}")
        self.job_url = variables.get("CI_JOB_URL", "")

    def find(self, marker: str) -> int | None:
        """Return the number of the own comment that begins with the marker, or None.

        Whoever wrote a comment can change it later, so that of another user is not taken. The token of a job may not
        ask who it belongs to: it belongs to the user who started the pipeline.
        """
        try:
            login = _mapping(self._api.call("GET", "/user").data).get("username")
        except Refused as refused:
            if refused.status not in _DENIED:
                raise
            login = self._user
        for note in self._api.pages(self._path):
            own = _mapping(note.get("author")).get("username") == login
            if own and str(note.get("body")).startswith(marker):
                return _number(note.get("id"))
        return None

    def create(self, body: str) -> None:
        """Write a new comment."""
        self._api.call("POST", self._path, {"body": body})

    def update(self, comment: int, body: str) -> None:
        """Replace the text of a comment."""
        self._api.call("PUT", f"{self._path}/{comment}", {"body": body})

    def remedy(self, refused: Refused) -> str:
        """Return what to do about a refusal; empty if nothing is known."""
        return f"the token has no right to comment: {_GITLAB_REMEDY}" if refused.status in _DENIED else ""


_GITLAB_REMEDY = (
    "make an access token of the project with the role Reporter and the scope api, and add it as the masked variable "
    "GITLAB_TOKEN"
)


def _read_event(path: str) -> Mapping[str, Any]:
    """Return the event that started a job of GitHub; empty if no file is named."""
    if not path:
        return {}
    try:
        with Path(path).open("rb") as file:
            return _mapping(json.loads(file.read(_MAX_EVENT)))
    except (OSError, ValueError, RecursionError) as error:
        raise CommentError(
            f"GITHUB_EVENT_PATH is {short_repr(path)}, which cannot be read ({error}): name the pull request with "
            "--number"
        ) from error


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
