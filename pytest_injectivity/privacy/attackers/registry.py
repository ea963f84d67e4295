"""All attackers, weakest first."""

from pytest_injectivity.privacy.attackers.base import Attacker
from pytest_injectivity.privacy.attackers.beam import Beam
from pytest_injectivity.privacy.attackers.joint_search import Gaps
from pytest_injectivity.privacy.attackers.kv_collision import Collision
from pytest_injectivity.privacy.attackers.likelihood import Mahalanobis, Prior
from pytest_injectivity.privacy.attackers.matching import Matching
from pytest_injectivity.privacy.attackers.procrustes import Turned
from pytest_injectivity.privacy.attackers.single_look import Embedding, LensLook
from pytest_injectivity.privacy.attackers.sipit import Argmin, Ball

ATTACKERS: tuple[Attacker, ...] = (
    Embedding(),
    LensLook(),
    Ball(),
    Argmin(),
    Collision(),
    Mahalanobis(),
    Prior(),
    Matching(),
    Turned(),
    Gaps(),
    Beam(),
)
"""Each runs on the releases and places it is made for; a release that none is made for is attacked by
nobody, which says nothing of it."""
