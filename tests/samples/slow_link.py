"""A command between a session and a host that delays, throttles, freezes or cuts what passes.

    python slow_link.py DELAY_S BYTES_PER_S CONTROL COMMAND...

CONTROL is a file: when it contains `freeze`, nothing passes any more in either direction, and when it contains `cut`,
this process and the command end.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path


def forward(source: int, target: int, delay_s: float, bytes_per_s: float, control: Path) -> None:
    """Pass on bytes, each part as late as the delay and the rate of the link demand."""
    parts: queue.Queue[tuple[float, bytes]] = queue.Queue()

    def read() -> None:
        while data := os.read(source, 16384):
            parts.put((time.monotonic(), data))
        parts.put((time.monotonic(), b""))

    threading.Thread(target=read, daemon=True).start()
    free = 0.0
    while True:
        arrived, data = parts.get()
        free = max(free, arrived) + len(data) / bytes_per_s
        time.sleep(max(0.0, free + delay_s - time.monotonic()))
        while control.exists() and control.read_text() == "freeze":
            time.sleep(0.02)
        if not data:
            os.close(target)
            return
        while data:
            data = data[os.write(target, data) :]


def main() -> None:
    delay_s, bytes_per_s, control = float(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
    with subprocess.Popen(sys.argv[4:], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        there, back = os.dup(process.stdin.fileno()), os.dup(process.stdout.fileno())
        process.stdin.close()
        for source, target in ((0, there), (back, 1)):
            arguments = (source, target, delay_s, bytes_per_s, control)
            threading.Thread(target=forward, args=arguments, daemon=True).start()
        while process.poll() is None:
            if control.exists() and control.read_text() == "cut":
                process.kill()
                os._exit(1)
            time.sleep(0.02)
    os._exit(process.returncode)


if __name__ == "__main__":
    main()
