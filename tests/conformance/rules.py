"""The rules beyond the specification: what it leaves open and real clients depend on.

Rule: every one that can be seen from outside has a case that names it.
"""

RULES = {
    1: "`Location` is absolute, with the scheme and the host of the request: aiotus fails on a path.",
    2: "A request that can be refused is refused before a byte of its body is read, and changes nothing.",
    3: "A 409 to PATCH has the true `Upload-Offset`, and no other refusal does: TUSKit reads nothing else.",
    4: "HEAD always has offset and length, or is 404 without an offset; it is never 5xx for an upload in use, since "
    "tus-js-client would restart from zero.",
    5: "Lists in `Tus-*` headers have commas and no spaces: TUSKit splits them without trimming.",
    6: "POST accepts a foreign Content-Type without a body, empty metadata, keys and values; bad base64 is 400; HEAD "
    "echoes the metadata byte for byte.",
    7: "POST is answered with exactly 201 and has the offset, DELETE and OPTIONS with exactly 204; OPTIONS and GET "
    "need no version.",
    8: "The last PATCH is answered at once: TUSKit waits 30 s, so processing comes later.",
    9: "`Upload-Concat: partial` may be on HEAD and PATCH, and `final;` with URLs (tus-js-client) or paths "
    "(aiotus); a part that is not an id is refused.",
    10: "`X-HTTP-Method-Override` on POST is the method, for networks that block PATCH.",
    11: "A last PATCH that is sent again without a byte, since its answer was lost, is 204, whatever its framing: "
    "tus-java-client sends it chunked.",
    12: "A checksum that does not match is 460 and an unknown algorithm 400; neither moves the offset, and "
    "nothing stays of a checked body that was cut off.",
    13: "Bytes that arrived before a cut are kept, and the next HEAD counts them.",
    14: "A new HEAD, PATCH or DELETE evicts the request that holds the upload; no late byte of that request "
    "reaches the file.",
    15: "Pages of other origins may send all headers of tus and read all of its answers, refusals too.",
    16: "POST and PATCH answer with `Upload-Expires`, an IMF-fixdate.",
    17: "Where types are checked, first bytes that are not an allowed video are 415 without an offset, at once and "
    "later; partial uploads are exempt, the final one is not.",
    18: "DELETE of a complete upload is 204 at any time, also while it is processed.",
    19: "Ids are UUIDs of version 4 in lower case with hyphens, and any other id is refused.",
}
