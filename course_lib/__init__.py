"""Inpainting from Scratch: the library that the lessons build and use.

In a notebook::

    import course_lib as cl
    run = cl.start("00")
"""

from course_lib import (
    datasets,
    evaluation,
    evidence,
    fills,
    folders,
    holes,
    large,
    layers,
    losses,
    mining,
    networks,
    photos,
    pictures,
    scale,
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
    "datasets",
    "evaluation",
    "evidence",
    "fills",
    "folders",
    "hide",
    "holes",
    "large",
    "layers",
    "losses",
    "mining",
    "networks",
    "photos",
    "pictures",
    "progress",
    "scale",
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
