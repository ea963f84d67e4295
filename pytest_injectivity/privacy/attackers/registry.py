"""THE table of attackers, weakest first: a new attacker is its file, its test and a row here."""

from pytest_injectivity.privacy.attackers.argmin import ArgminAttacker
from pytest_injectivity.privacy.attackers.averaging import AveragingAttacker
from pytest_injectivity.privacy.attackers.ball import BallAttacker
from pytest_injectivity.privacy.attackers.base import Attacker
from pytest_injectivity.privacy.attackers.beam import BeamAttacker
from pytest_injectivity.privacy.attackers.chosen_collision import ChosenCollisionAttacker
from pytest_injectivity.privacy.attackers.components import ComponentsAttacker
from pytest_injectivity.privacy.attackers.difference import DifferenceAttacker
from pytest_injectivity.privacy.attackers.embedding import EmbeddingAttacker
from pytest_injectivity.privacy.attackers.fixed_ball import FixedBallAttacker
from pytest_injectivity.privacy.attackers.gram import GramAttacker
from pytest_injectivity.privacy.attackers.injection import InjectionAttacker
from pytest_injectivity.privacy.attackers.joint_search import JointSearchAttacker
from pytest_injectivity.privacy.attackers.known_plaintext import KnownPlaintextAttacker
from pytest_injectivity.privacy.attackers.kv_collision import KvCollisionAttacker
from pytest_injectivity.privacy.attackers.last_state_inverter import LastStateInverterAttacker
from pytest_injectivity.privacy.attackers.lens import LensAttacker
from pytest_injectivity.privacy.attackers.linear_inverter import LinearInverterAttacker
from pytest_injectivity.privacy.attackers.mahalanobis import MahalanobisAttacker
from pytest_injectivity.privacy.attackers.matching import MatchingAttacker
from pytest_injectivity.privacy.attackers.network_inverter import NetworkInverterAttacker
from pytest_injectivity.privacy.attackers.pairs_inverter import PairsInverterAttacker
from pytest_injectivity.privacy.attackers.prior import PriorAttacker
from pytest_injectivity.privacy.attackers.procrustes import ProcrustesAttacker
from pytest_injectivity.privacy.attackers.scatter import ScatterAttacker
from pytest_injectivity.privacy.attackers.span import SpanAttacker

ATTACKERS: tuple[Attacker, ...] = (
    InjectionAttacker(),
    EmbeddingAttacker(),
    LensAttacker(),
    LinearInverterAttacker(),
    NetworkInverterAttacker(),
    LastStateInverterAttacker(),
    PairsInverterAttacker(),
    FixedBallAttacker(),
    BallAttacker(),
    ArgminAttacker(),
    KvCollisionAttacker(),
    ChosenCollisionAttacker(),
    DifferenceAttacker(),
    MahalanobisAttacker(),
    PriorAttacker(),
    AveragingAttacker(),
    MatchingAttacker(),
    ProcrustesAttacker(),
    KnownPlaintextAttacker(),
    GramAttacker(),
    ComponentsAttacker(),
    ScatterAttacker(),
    SpanAttacker(),
    JointSearchAttacker(),
    BeamAttacker(),
)
"""Each attacker is run on the releases and places it is made for. A release that no attacker is made for
is not attacked, and nothing follows about it."""
