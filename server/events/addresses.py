"""Which addresses a message may be sent to.

Rule: only addresses of the public internet. An address that carries another one in it (IPv4-mapped, NAT64, 6to4) is
judged by that one. A user who may name a URL must not reach this machine, its network or its cloud's metadata.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052
_OF_PROTOCOLS = IPv4Network("192.0.0.0/24")  # not all of it is private for Python 3.11
_REFUSED = (
    IPv6Network("::/96"),  # IPv4-compatible, and the loopback address
    IPv6Network("64:ff9b:1::/48"),  # NAT64 of a local network, RFC 8215
    IPv6Network("2001::/23"),  # Teredo and other protocols of the IETF
    IPv6Network("fec0::/10"),  # site-local, deprecated
)


def is_public(address: str) -> bool:
    """Whether this numeric address is one of the public internet; a scope (`%eth0`) does not matter."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        inner = _inner(found)
        if inner is not None:
            found = inner
        elif any(found in network for network in _REFUSED):
            return False
    if isinstance(found, IPv4Address) and found in _OF_PROTOCOLS:
        return False
    return found.is_global and not (found.is_multicast or found.is_reserved or found.is_unspecified)


def _inner(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that packets to this one reach in the end."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour
