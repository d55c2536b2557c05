"""``python -m course_lib.scale OUT``; Accelerate launches it too; lesson 11."""

import sys

from course_lib.scale import main

sys.exit(main())
