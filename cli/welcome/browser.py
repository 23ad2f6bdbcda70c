"""Opens the sign-in link in the reader's browser, when `makegood up` runs on a desktop's terminal.

The module `webbrowser` chooses the browser, in a process of its own: what a browser prints must not
follow the banner, and Ctrl-C must not end it.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping


def may_open_browser(
    environment: Mapping[str, str], *, is_terminal: bool, platform: str = sys.platform
) -> bool:
    """Whether a browser would open a window that the reader of this output sees.

    A Linux without a display has at most text browsers, which would take the terminal over. On
    macOS, root and SSH sessions have no display.
    """
    if not is_terminal:
        return False
    if platform == "darwin":
        return os.geteuid() != 0 and "SSH_CONNECTION" not in environment
    return bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))


async def open_browser(url: str) -> None:
    """Open the address. Some browsers run until they are closed; a cancelled call leaves them."""
    quiet = asyncio.subprocess.DEVNULL
    starter = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "webbrowser", url),
        stdin=quiet,
        stdout=quiet,
        stderr=quiet,
        start_new_session=True,
    )
    try:
        await starter.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            starter.kill()
