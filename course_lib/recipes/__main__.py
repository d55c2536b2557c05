"""``python -m course_lib.recipes NAME``, which ``course.py weights`` calls."""

import sys

from course_lib.recipes import main

sys.exit(main(sys.argv[1:]))
