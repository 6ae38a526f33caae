"""What happens to a finished upload: steps that look at a video and make things from it.

Rule: a step knows one file and nothing of tasks, databases or the web. Whatever touches the bytes of a video
runs in a child process with limits (`sandbox/child.py`), since a video comes from a stranger.
"""
