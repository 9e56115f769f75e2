"""Domain adaptation: from an initialisation, with target images that have no labels. One method a file."""

from l2o_env.adaptation.adabn import AdaBN
from l2o_env.adaptation.adr import ADR
from l2o_env.adaptation.cbst import CBST
from l2o_env.adaptation.cdan import CDAN
from l2o_env.adaptation.checkpoint import read_checkpoint, write_checkpoint
from l2o_env.adaptation.config import AdaptConfig
from l2o_env.adaptation.dann import DANN
from l2o_env.adaptation.gta import GTA
from l2o_env.adaptation.images import LabelledImages, UnlabelledImages
from l2o_env.adaptation.loop import Adaptation, Round, predictions
from l2o_env.adaptation.lrent import LRENT, MRKLDLRENT
from l2o_env.adaptation.mcc import MCC
from l2o_env.adaptation.mcd import MCD
from l2o_env.adaptation.mdd import MDD
from l2o_env.adaptation.method import Method
from l2o_env.adaptation.mrkld import MRKLD
from l2o_env.adaptation.oracle import TargetOracle
from l2o_env.adaptation.selection import information_maximisation
from l2o_env.adaptation.shot import SHOT
from l2o_env.adaptation.simnet import SimNet
from l2o_env.adaptation.source_only import SourceOnly
from l2o_env.adaptation.tent import Tent

METHODS: dict[str, type[Method]] = {
    kind.name: kind
    for kind in (
        SourceOnly, MCD, ADR, SimNet, GTA, CBST, MRKLD, LRENT, MRKLDLRENT, AdaBN, DANN, CDAN, MDD, MCC, SHOT, Tent,
    )
}  # fmt: skip
"""All methods by name."""

__all__ = [
    "METHODS", "AdaptConfig", "Adaptation", "LabelledImages", "Method", "Round", "TargetOracle", "UnlabelledImages",
    "information_maximisation", "predictions", "read_checkpoint", "write_checkpoint",
]  # fmt: skip
