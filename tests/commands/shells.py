"""A shell that somebody types into, with the script of ``pytest-injectivity completion`` in it."""

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

SECONDS = 30
"""For a shell to start, and for it to answer; on a busy machine too."""

_READY = "type>"
_ANSWER = "arguments:"
# It stands for the command: it prints what it is given, and says that another line may be typed.
_POSIX = f'pytest-injectivity() {{ printf "{_ANSWER}%s;\\n" "$*"; }}\nPS1="{_READY}"\n'
_FISH = (
    f'function pytest-injectivity; printf "{_ANSWER}%s;\\n" "$argv"; end\n'
    f"function fish_prompt; echo -n '{_READY}'; end\nfunction fish_greeting; end\n"
)
_STARTED = {
    "bash": ("bashrc", _POSIX, ("--noprofile", "--rcfile", "bashrc", "-i")),
    "zsh": (".zshrc", f"autoload -Uz compinit && compinit -u -D\n{_POSIX}", ("-d", "-i")),
    "fish": ("config.fish", _FISH, ("--no-config", "--init-command", "source config.fish")),
}


def arguments_typed(shell: str, script: str, typed: str, folder: Path) -> str:
    """What the command is given when this is typed, TAB is pressed, and the line is sent.

    Args:
        shell: bash, zsh or fish; skips the test where it is not installed.
        script: of ``pytest-injectivity completion``.
        typed: arguments, of which the last one is begun.
        folder: where the shell is, with nothing of the user's.
    """
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell}: apt-get install {shell}")
    name, beginning, flags = _STARTED[shell]
    (folder / name).write_text(f"{beginning}{script}\n")
    ours, theirs = pty.openpty()
    home = dict.fromkeys(("HOME", "ZDOTDIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME"), str(folder))
    running = subprocess.Popen(  # noqa: S603 - a shell, and this package's own script
        # A terminal that is opened by a session's first process is the one its jobs are ruled by.
        ["/bin/sh", "-c", 'exec "$@" < "$0" > "$0" 2>&1', os.ttyname(theirs), program, *flags],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "TERM": "dumb", "LANG": "C.UTF-8"} | home,
        start_new_session=True,
    )
    try:
        _read_until(ours, _READY)
        os.write(ours, f"pytest-injectivity {typed}\t\n".encode())
        _read_until(ours, _ANSWER)
        return _read_until(ours, ";").removesuffix(";").strip()
    finally:
        running.kill()
        running.wait()
        os.close(ours)
        os.close(theirs)


def _read_until(terminal: int, awaited: str) -> str:
    """What the shell writes until this, and this."""
    read, end = "", time.monotonic() + SECONDS
    while awaited not in read:
        left = end - time.monotonic()
        if left < 0 or not select.select([terminal], [], [], left)[0]:
            raise TimeoutError(f"the shell did not write {awaited!r}, but {read!r}")
        # One at a time: what follows is another call's.
        read += os.read(terminal, 1).decode(errors="replace")
    return read
