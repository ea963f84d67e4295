"""Checks that a release is one, on the rows it is for, before anything is measured of it.

A text that follows the grammar may still name a release that does nothing to real states, and a custom
release may return anything. Both are found by running the release on the rows of the audit.
"""

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float
from pytest_injectivity.core.text import number_of
from pytest_injectivity.errors import OptionError
from pytest_injectivity.privacy.releases.observed import Observed
from pytest_injectivity.privacy.releases.protocol import Release, draws


def check_release(
    release: Release, observed: Observed, seed: int, name: str, *, same: bool
) -> None:
    """Refuses what is no release of these rows.

    Args:
        release: the release to check.
        observed: the rows it is for.
        seed: seed of the secret draws.
        name: name of the release in messages.
        same: whether the release is meant to change nothing.

    Raises:
        OptionError: the release returns another shape, another dtype or a number that is not finite,
            changes its argument in place, draws from elsewhere than its generator, or changes nothing.
    """
    changed = False
    for rows, ids in zip(observed.rows, observed.prompts, strict=True):
        if not bool(rows.isfinite().all()):
            raise OptionError(
                f"release {name}: the states it is for have a NaN or an infinity before anything is"
                " released: audit the model first (assert_no_collisions)"
            )
        given = rows.clone()
        sent = release.apply(given, draws(seed, ids))
        # A batch has rows of other prompts beside those of this one.
        more = release.secret.mixes_positions
        _check_rows(name, "apply", sent, rows, more=more)
        if not torch.equal(given, rows):
            raise OptionError(
                f"release {name}: apply changes the rows it is given: return new ones"
            )
        if not torch.equal(sent, release.apply(rows.clone(), draws(seed, ids))):
            raise OptionError(
                f"release {name}: apply gives something else when it is run again: take everything"
                " random from the generator it is given"
            )
        _check_rows(name, "undo", release.undo(sent, draws(seed, ids)), rows)
        changed = changed or not torch.equal(sent, rows)
    _check_rows(name, "image", release.image(observed.rows[0]), observed.rows[0])
    if not (changed or same):
        raise OptionError(
            f"release {name}: apply changes nothing on these"
            f" {number_of(len(observed.rows), 'prompt')}: its strength"
            " is below what the states' dtype can show, or it acts on one row alone; say identity where"
            " that is meant"
        )


def _check_rows(
    name: str,
    what: str,
    found: object,
    rows: Float[Tensor, "positions width"],
    *,
    more: bool = False,
) -> None:
    if (
        not isinstance(found, Tensor)
        or found.shape[1:] != rows.shape[1:]
        or not (len(found) == len(rows) or (more and len(found) > len(rows)))
        or found.dtype != rows.dtype
    ):
        given = (
            f"{tuple(found.shape)} of {found.dtype}" if isinstance(found, Tensor) else type(found)
        )
        raise OptionError(
            f"release {name}: {what} returns {given}, where {tuple(rows.shape)} of {rows.dtype} is"
            f" accepted: {'at least ' * more}as many rows, as wide, as it is given"
        )
    if lost := int((~found.isfinite()).any(dim=1).sum()):
        raise OptionError(
            f"release {name}: {what} returns a NaN or an infinity in {lost} of {len(found)} rows, which"
            " hides nothing and is of no use: give finite numbers"
        )
