"""The memory between OpenSSL and us: two buffers a connection, which grow, and never shrink.

They keep the size of the largest flight or piece that ever passed: of a handshake, some KiB for each certificate, and
behind a bulk body 85 KiB. pyOpenSSL has no word for giving that back, so empty buffers are put in the place of those
that are. Measured, 1,000 idle connections: 25.0 KiB of memory each become 23.4, and 34.4 become 30.0 when keys were
agreed on with X25519MLKEM768; behind a GET of 20 MB, 27.9 KiB for 63 and more.

And the way past them, for large bodies: pyOpenSSL gives each record of 16 KiB as an object of its own, which is made,
copied from and thrown away. Read into memory that is there already, a GiB takes 0.5 s of a processor for 0.8.
"""

from __future__ import annotations

from OpenSSL import SSL
from OpenSSL._util import ffi, lib

_FED_OCTETS = 64 * 1024
"""Given to OpenSSL at a time: its buffer grows to a third more, and what is in it is still in the processor's cache."""


def release_buffers(connection: SSL.Connection) -> None:
    """Give back the memory of a connection's buffers, unless something waits in them."""
    start = ffi.new("char **")
    if any(lib.BIO_get_mem_data(b, start) for b in (connection._into_ssl, connection._from_ssl)):
        return
    into, out_of = lib.BIO_new(lib.BIO_s_mem()), lib.BIO_new(lib.BIO_s_mem())
    if ffi.NULL in (into, out_of):
        raise MemoryError
    # OpenSSL frees the old ones, and these with the connection.
    lib.SSL_set_bio(connection._ssl, into, out_of)
    connection._into_ssl, connection._from_ssl = into, out_of


def decrypt_into(
    connection: SSL.Connection, octets: memoryview, into: memoryview
) -> tuple[int, SSL.Error]:
    """Decrypt octets that came from the peer.

    Args:
        connection: with a handshake that is done; nobody else may be at it.
        octets: in any segmentation, > 0 of them.
        into: where they go; what finds no room there stays with OpenSSL, in order.

    Returns:
        How many octets there are now, and what came then: WantReadError when all is well.
    """
    count = 0
    error: SSL.Error = SSL.WantReadError()
    with ffi.from_buffer("char[]", into, require_writable=True) as start:
        for offset in range(0, len(octets), _FED_OCTETS):
            connection.bio_write(octets[offset : offset + _FED_OCTETS])
            got = 1
            while got > 0 and count < len(into):
                got = lib.SSL_read(connection._ssl, start + count, len(into) - count)
                count += max(0, got)
            if got <= 0:
                try:
                    connection._raise_ssl_error(connection._ssl, got)
                except SSL.WantReadError:
                    continue
                except SSL.Error as raised:
                    error = raised
                break
    return count, error
