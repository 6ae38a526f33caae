"""Processing of one finished upload: steps that scan and probe the file, and make what players need.

Rule: a step knows one file and no task, database or request. Code that reads the bytes of a video runs in a confined
child process (`sandbox/child.py`), since the video may be hostile. `order.py` has the steps in their order.
"""
