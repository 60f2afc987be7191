"""A real SFTP server (asyncssh) in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

USER, PASSWORD = "ci", "open-sesame"


@contextlib.contextmanager
def server(folder: Path) -> Iterator[int]:
    """Start a server whose root is `folder`, and yield its port."""
    with subprocess.Popen([sys.executable, __file__, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


async def _serve(folder: str) -> None:
    import asyncssh

    class Guarded(asyncssh.SSHServer):
        """Accepts USER with PASSWORD."""

        def begin_auth(self, username: str) -> bool:
            return True

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == (USER, PASSWORD)

    key = asyncssh.generate_private_key("ssh-ed25519")
    listener = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=Guarded, server_host_keys=[key],
        sftp_factory=lambda connection: asyncssh.SFTPServer(connection, chroot=folder),
    )  # fmt: skip
    print(listener.get_port(), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
