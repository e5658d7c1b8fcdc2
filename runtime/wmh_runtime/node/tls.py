"""TLS in both directions: each side shows a certificate of an authority that the other trusts."""

from __future__ import annotations

import ssl

from wmh_runtime.errors import InputError
from wmh_runtime.node.config import Tls


def server_context(tls: Tls) -> ssl.SSLContext:
    """Return the settings to receive with; InputError: a certificate cannot be used."""
    return _context(tls, ssl.Purpose.CLIENT_AUTH)


def client_context(tls: Tls) -> ssl.SSLContext:
    """Return the settings to send with; InputError: a certificate cannot be used."""
    return _context(tls, ssl.Purpose.SERVER_AUTH)


def _context(tls: Tls, purpose: ssl.Purpose) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(purpose, cafile=tls.authority)
        context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as error:
        problem = f"the certificates cannot be used ({error})"
        raise InputError(problem, "Check the files that tls names.", about="tls") from error
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
