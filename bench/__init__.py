"""Side-by-side benchmark of upload servers: ours and those that a user would pick instead.

Rules: all servers take part in one interleaved run; every stored byte is compared after its transfer, and a transfer
that failed is never a number; nothing here is imported by the server.
"""
