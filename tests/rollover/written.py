"""What is written in the live file, and the moment before its reload, held open: a tick that dies there."""

from __future__ import annotations

import time
from collections.abc import Mapping

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.lab import Certificate, Lab
from tests.rollover.driving import advance_to, fill_caches, left_by_advance
from tests.rollover.tracing import INSTALL, START, Trace, killed_at, trace


def adopted_under_strace(lab: Lab, settings: Mapping[str, object]) -> Trace:
    """Configure and adopt; return the trace: how a live file is written is to be seen in that, too."""
    lab.configure(**settings)
    found = trace(lab, "adopt", "mail")
    assert found.done.returncode == 0, found.done.stderr
    return found


def written(lab: Lab, found: Trace) -> Certificate:
    """Begin a rollover whose tick dies between writing and reload, so that somebody may come in; return what is written."""
    fill_caches(lab)
    new = lab.certificate()
    lab.deploy(new, check=0)
    advance_to(lab, "waiting")
    at_install = [(f"{milestone} | {INSTALL} | 1", "after") for milestone in (START, f"{INSTALL}.previous")]
    for _ in range(30):
        if killed_at(lab, at_install, found, "advance", "mail").fired is not None:
            return new
        time.sleep(0.5)
    raise AssertionError(f"no tick came to {INSTALL}: {left_by_advance()}")


def live_leaf(lab: Lab) -> str:
    """Return the fingerprint of the leaf in the live file; the rest of its chain has to be there too."""
    leaf, *rest = x509.load_pem_x509_certificates(lab.chain_file.read_bytes())
    assert len(rest) == lab.old.fullchain.read_bytes().count(b"BEGIN CERTIFICATE") - 1
    return leaf.fingerprint(hashes.SHA256()).hex()
