"""How a process takes part in an audit."""

from pathlib import Path
from typing import TypedDict

from pytest_injectivity.core.executor import Executor
from pytest_injectivity.core.progress import Watcher


class Process(TypedDict, total=False):
    """How a process takes part in an audit.

    Attributes:
        watcher: told what happens; nobody by default.
        workers: processes that compute side by side on this machine; 1 by default.
        executor: runs parts of an audit in workers, each of which loads the model; by default all is
            computed in this process.
        key: keys the hashes that name prompts; the config's, or a new random one, by default.
        run: a name that processes of one run share; a new random one by default.
        scratch: where nothing is kept, the folder that processes of one run share; by default a new
            one that is removed with the audit.
        name: of the model in verdicts, where the run has several.
        command: the options of the run as a command line, where they are not those of the config alone.
        used: where the names of options are added whose values a measurement or a check has used; see
            ``used_by`` in `pytest_injectivity.config.options`.
        described: facts on the model are those of its configuration; no weights are loaded for them.
    """

    watcher: Watcher | None
    workers: int
    executor: Executor | None
    key: bytes | None
    run: str | None
    scratch: Path | None
    name: str
    command: str | None
    used: set[str]
    described: bool
