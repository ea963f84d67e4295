"""THE table of attackers, weakest first: a new attacker is its file, its test and a row here."""

from pytest_injectivity.privacy.attackers.base import Attacker
from pytest_injectivity.privacy.attackers.beam import BeamAttacker
from pytest_injectivity.privacy.attackers.joint_search import JointSearchAttacker
from pytest_injectivity.privacy.attackers.kv_collision import KvCollisionAttacker
from pytest_injectivity.privacy.attackers.likelihood import MahalanobisAttacker, PriorAttacker
from pytest_injectivity.privacy.attackers.matching import MatchingAttacker
from pytest_injectivity.privacy.attackers.procrustes import ProcrustesAttacker
from pytest_injectivity.privacy.attackers.single_look import EmbeddingAttacker, LensAttacker
from pytest_injectivity.privacy.attackers.sipit import ArgminAttacker, BallAttacker

ATTACKERS: tuple[Attacker, ...] = (
    EmbeddingAttacker(),
    LensAttacker(),
    BallAttacker(),
    ArgminAttacker(),
    KvCollisionAttacker(),
    MahalanobisAttacker(),
    PriorAttacker(),
    MatchingAttacker(),
    ProcrustesAttacker(),
    JointSearchAttacker(),
    BeamAttacker(),
)
"""Each attacker is run on the releases and places it is made for. A release that no attacker is made for
is not attacked, and nothing follows about it."""
