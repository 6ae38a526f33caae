"""`videodock doctor`: what is wrong with an installation, seen from this machine and from outside.

Rule: it changes nothing. The one upload that it makes from outside is never complete, and is removed at the end.
"""
