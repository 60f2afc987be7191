"""A real SSH server (asyncssh) in a process of its own, which runs the commands of its clients."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

USER = "ci"


@contextlib.contextmanager
def server(folder: Path) -> Iterator[Path]:
    """Start a server, and yield a configuration file with which `ssh perf-0` logs in to it.

    Args:
        folder: The folder of its keys.
    """
    if shutil.which("ssh") is None and not os.environ.get("CI"):
        pytest.skip("there is no ssh: apt-get install openssh-client")
    with subprocess.Popen([sys.executable, __file__, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            config = folder / "ssh_config"
            config.write_text(
                f"Host perf-*\n  HostName 127.0.0.1\n  Port {port}\n  User {USER}\n  IdentityFile {folder / 'key'}\n"
                "  IdentitiesOnly yes\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n"
            )
            yield config
        finally:
            process.kill()


async def _serve(folder: Path) -> None:
    import asyncssh

    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(folder / "key")
    (folder / "key").chmod(0o600)
    key.write_public_key(folder / "key.pub")

    async def run(process: asyncssh.SSHServerProcess[bytes]) -> None:
        local = await asyncio.create_subprocess_shell(
            process.command or "exit 1", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        await process.redirect(stdin=local.stdin, stdout=local.stdout, stderr=local.stderr)
        process.exit(await local.wait())

    listener = await asyncssh.listen(
        "127.0.0.1", 0, server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        authorized_client_keys=str(folder / "key.pub"), process_factory=run, encoding=None,
    )  # fmt: skip
    print(listener.get_port(), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
