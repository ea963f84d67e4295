"""What workers, or several GPUs, share of the work of an audit, in a sentence."""

from typing import TYPE_CHECKING

from pytest_injectivity.core.text import number_of

if TYPE_CHECKING:
    import torch


def sharing(
    workers: int | str | None, devices: "tuple[torch.device, ...]", *, rows: int, width: int
) -> str:
    """Who shares what; empty where this process does all of it alone.

    Args:
        workers: as the config has them: how many, or the address of their cluster.
        devices: of the model.
        rows: prompts, among which is searched.
        width: of their states.
    """
    from pytest_injectivity.geometry.search.limits import SearchLimits
    from pytest_injectivity.geometry.search.shared import is_large

    kind, searches = devices[0].type, f"searches among {rows:,} rows"
    large = is_large(rows**2 // 2, width, kind, SearchLimits())
    said = []
    # One worker takes the work over, and shares it with nobody.
    if workers is not None and workers != 1:
        who = number_of(workers, "worker") if isinstance(workers, int) else "workers"
        said.append(f"hidden states, inversions and attacks are shared by {who}")
        if kind == "cpu" and large:
            said.append(f"{searches} as well, if {who} have more threads than this process")
    if kind == "cuda" and large and len(devices) > 1:
        said.append(f"{searches} are shared by {len(devices)} GPUs")
    return f"{', '.join(said)}; the times are of one alone" if said else ""
