"""What a reader clicks: explorers that live in the page and answer from Python.

No network, no build step: each explorer is a Python class and an ES module beside it.
"""

from course_lib.widgets.attention_explorer import AttentionExplorer
from course_lib.widgets.base import CourseWidget
from course_lib.widgets.discount_explorer import DiscountExplorer
from course_lib.widgets.gate_explorer import GateExplorer
from course_lib.widgets.hole_explorer import HoleExplorer
from course_lib.widgets.kernel_explorer import KernelExplorer
from course_lib.widgets.ladder_explorer import LadderExplorer
from course_lib.widgets.mining_explorer import MiningExplorer
from course_lib.widgets.painter import HolePainter
from course_lib.widgets.reading_explorer import ReadingExplorer
from course_lib.widgets.sampling_explorer import SamplingExplorer
from course_lib.widgets.sketch_pad import SketchPad
from course_lib.widgets.training_view import TrainingView
from course_lib.widgets.window_explorer import WindowExplorer

__all__ = [
    "AttentionExplorer",
    "CourseWidget",
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
]
