"""TLS in both directions: each side shows a certificate of an authority that the other trusts."""

from __future__ import annotations

import socket
import ssl
from socketserver import TCPServer

from pynetdicom.transport import ThreadedAssociationServer

from wmh_runtime.errors import InputError
from wmh_runtime.node.config import Tls


def server_context(tls: Tls) -> ssl.SSLContext:
    """Return the settings to receive with; InputError: a certificate cannot be used."""
    return _context(tls, ssl.Purpose.CLIENT_AUTH)


def client_context(tls: Tls) -> ssl.SSLContext:
    """Return the settings to send with; InputError: a certificate cannot be used."""
    return _context(tls, ssl.Purpose.SERVER_AUTH)


class TlsAssociationServer(ThreadedAssociationServer):
    """Makes the handshake when the thread of the association first reads.

    pynetdicom makes it when it accepts a connection: one that says nothing would block all others.
    """

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept a connection, without a handshake."""
        assert self.socket is not None  # it listens
        client, address = self.socket.accept()
        client.settimeout(self.ae.network_timeout)
        if self.ssl_context is not None:
            client = self.ssl_context.wrap_socket(
                client, server_side=True, do_handshake_on_connect=False
            )
        return client, address

    def shutdown(self) -> None:
        """Stop accepting connections, and close the socket."""
        TCPServer.shutdown(self)
        self.server_close()


def _context(tls: Tls, purpose: ssl.Purpose) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(purpose, cafile=tls.authority)
        # A key with a password is refused: nobody could type it in.
        context.load_cert_chain(tls.certificate, tls.key, password="")
    except (OSError, ssl.SSLError) as error:
        problem = f"the certificates cannot be used ({error})"
        raise InputError(problem, "Check the files that tls names.", about="tls") from error
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
