"""``python -m course_lib.scale OUT``; Accelerate launches it too; lesson 11."""

from course_lib.scale import main

main()
