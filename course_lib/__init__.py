"""Inpainting from Scratch: the library that the lessons build and use.

In a notebook::

    import course_lib as cl
    run = cl.start("00")
"""

from course_lib import (
    evaluation,
    evidence,
    fills,
    holes,
    layers,
    losses,
    mining,
    networks,
    photos,
    pictures,
    session,
    sketch,
    studies,
    tensors,
    training,
    zoo,
)
from course_lib.exercises import check, progress
from course_lib.lesson import claim, close, show_source
from course_lib.session import start
from course_lib.tensors import composite, hide
from course_lib.widgets import (
    AttentionExplorer,
    DiscountExplorer,
    GateExplorer,
    HoleExplorer,
    HolePainter,
    KernelExplorer,
    LadderExplorer,
    MiningExplorer,
    ReadingExplorer,
    SamplingExplorer,
    SketchPad,
    TrainingView,
    WindowExplorer,
)

__all__ = [
    "AttentionExplorer",
    "DiscountExplorer",
    "GateExplorer",
    "HoleExplorer",
    "HolePainter",
    "KernelExplorer",
    "LadderExplorer",
    "MiningExplorer",
    "ReadingExplorer",
    "SamplingExplorer",
    "SketchPad",
    "TrainingView",
    "WindowExplorer",
    "check",
    "claim",
    "close",
    "composite",
    "evaluation",
    "evidence",
    "fills",
    "hide",
    "holes",
    "layers",
    "losses",
    "mining",
    "networks",
    "photos",
    "pictures",
    "progress",
    "session",
    "show_source",
    "sketch",
    "start",
    "studies",
    "tensors",
    "training",
    "zoo",
]
__version__ = "0.1.0"
