"""Uploads as objects of a bucket, by any server that speaks S3.

Rules:

- An upload is a multipart upload with parts of one fixed size. What is left over below a part is parked as a piece, an
  object of its own, so that every acknowledged byte is in the bucket.
- The ledger (`ledger.py`) knows which parts and pieces count. The bucket is never asked how many bytes an upload has.
- First the bucket has the bytes, then the ledger says so, then the client gets its answer.
"""
