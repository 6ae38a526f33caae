"""Uploads: what may come in, where its bytes and its row are, how it ends."""
