"""The peers that are libraries: the smallest server that their documentation would lead to."""
