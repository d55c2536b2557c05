"""The surroundings of every kernel that builds or tests a lesson.

One profile, one thread, no settings of the user's own, and no network: a lesson that
quietly downloads something fails here and not on a learner's desk.
"""

import inspect
import os
from pathlib import Path


def seal(folder: Path) -> dict[str, str]:
    """Write an IPython profile into ``folder``; return the environment that uses it."""
    profile = folder / "profile_default"
    source = inspect.getsource(close_sockets)
    call = "\n\nclose_sockets()\ndel close_sockets\n"
    _write(profile / "startup" / "00-offline.py", source + call)
    quiet = (
        "c = get_config()\nc.HistoryManager.enabled = False\n"
        "c.IPKernelApp.log_level = 40\n"
    )
    _write(profile / "ipython_config.py", quiet)
    return {
        "IPYTHONDIR": str(folder),
        "COURSE_PROFILE": "ci",
        "COURSE_PROGRESS": "off",
        "OMP_NUM_THREADS": "1",
    }


def close_sockets() -> None:
    """Let this process reach no address but its own machine's, from now on."""
    import ipaddress
    import sys

    def is_here(host: object) -> bool:
        if isinstance(host, bytes):
            host = host.decode(errors="replace")
        if host in (None, "", "localhost"):
            return True
        try:
            return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
        except ValueError:
            return False

    def guard(event: str, arguments: tuple) -> None:
        if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            address = arguments[1]
            # an address that is no tuple belongs to a socket inside this machine
            host = address[0] if isinstance(address, tuple) and address else None
        elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
            host = arguments[0]
        else:
            return
        if not is_here(host):
            raise RuntimeError(
                f"no internet in lessons: this cell tried to reach {host!r}. "
                "Everything a lesson needs comes with the course."
            )

    sys.addaudithook(guard)


def _write(path: Path, text: str) -> None:
    """Write unless it is already so: several test runs may share the folder."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
