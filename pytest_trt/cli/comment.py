"""`pytest-trt comment --from run.json`: write one comment on the pull or merge request, and keep it up to date."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path
from typing import Any

from pytest_trt.cli.code_hosts import CodeHost, open_host
from pytest_trt.cli.http_api import Refused
from pytest_trt.cli.project import Project, read_settings
from pytest_trt.cli.terminal import show, show_report
from pytest_trt.core.records import ALWAYS_FAIL, Status
from pytest_trt.core.thinning import without_samples
from pytest_trt.errors import CommentError, DeclarationError
from pytest_trt.report import comment
from pytest_trt.report.header import Header
from pytest_trt.report.result_json import RunFile

_DESCRIPTION = """Write the totals of a run, its failures with their causes, what improved and how to accept it into one
comment on the pull request of GitHub or the merge request of GitLab that this CI job is about. The next run replaces
the text of that comment. The token is GITHUB_TOKEN, or GITLAB_TOKEN or CI_JOB_TOKEN, and needs the right to comment."""
_EPILOG = """Exit status: 0 whatever the verdicts are, also if the job of a fork has no right to comment or if there is
no pull or merge request; 2 for a usage error, or if the comment cannot be written."""


def add_command(subparsers: Any) -> None:
    """Add the command's parser to `subparsers`."""
    parser = subparsers.add_parser(
        "comment", help="comment on the pull or merge request", description=_DESCRIPTION, epilog=_EPILOG
    )
    parser.add_argument(
        "--from",
        dest="run_file",
        type=Path,
        metavar="RUN.json",
        help="a file that --trt-report=json:PATH wrote (default: the last run)",
    )
    parser.add_argument(
        "--report-url", metavar="URL", help="the page that the comment links to (default: the page of the job)"
    )
    parser.add_argument(
        "--name",
        default="performance",
        metavar="TEXT",
        help="the name of the comment, so that several jobs have one each (default: performance)",
    )
    parser.add_argument(
        "--number", type=int, metavar="N", help="the number of the pull or merge request (default: that of the job)"
    )
    parser.add_argument("--fail-on", metavar="LIST", help="further verdicts to list as failures, such as missing,new")
    parser.add_argument("--strict", action="store_true", help="also list inconclusive, missing and unenforced")
    parser.add_argument(
        "--wait", type=float, default=120.0, metavar="S", help="how long to wait for rate limits (default: 120)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the comment, and write none")
    parser.add_argument(
        "--rootdir", type=Path, default=Path(), metavar="PATH", help="the project of the last run (default: here)"
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    if args.number is not None and args.number < 1:
        raise DeclarationError(f"--number is {args.number}: it must be the number of a pull or merge request")
    if not 0 <= args.wait < math.inf:
        raise DeclarationError(f"--wait is {args.wait:g}: it must be a number of seconds, 0 or more")
    comment.marker(args.name)
    run = Project(args.rootdir).results(args.run_file)
    if args.dry_run:
        show_report(_render(run, args, ""))
        return 0
    host = open_host(os.environ, args.number, args.wait)
    if not host.request:
        show("this job is about no pull or merge request: no comment was written; name one with --number")
        return 0
    body = _render(run, args, host.job_url)
    try:
        show(f"{_write(host, comment.marker(args.name), body)} the comment {args.name!r} on {host.request}")
    except Refused as refused:
        if host.fork_advice and refused.status in (401, 403, 404):
            show(f"no comment was written: {host.fork_advice}")
            return 0
        remedy = host.remedy(refused) or "run the command again later"
        raise CommentError(f"no comment was written on {host.request} ({refused}): {remedy}") from refused
    return 0


def _render(run: RunFile, args: argparse.Namespace, job_url: str) -> str:
    flags = {"fail_on": ("--fail-on", args.fail_on)}
    strict: frozenset[Status] = frozenset(("inconclusive", "missing", "unenforced") if args.strict else ())
    failing = ALWAYS_FAIL | read_settings({}, flags).fail_on | strict
    results = tuple(map(without_samples, run))
    header = Header.from_results(results, None, failing=failing, run=run.head, run_file=run.path.name)
    return comment.render(results, header, name=args.name, report_url=args.report_url or job_url)


def _write(host: CodeHost, marker: str, body: str) -> str:
    """Create or update the comment, and return which of both."""
    number = host.find(marker)
    if number is None:
        host.create(body)
        return "wrote"
    host.update(number, body)
    return "updated"
