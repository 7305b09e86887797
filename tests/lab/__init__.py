"""A laboratory of real servers for the tests and the demo; README.md lists what it offers."""

from __future__ import annotations

from .certificates import Certificate, x509_time
from .lab import Lab
from .maillog import Counts, Mark
from .process import LabError, wait_for
from .query import Answer, RRset

__all__ = ["Answer", "Certificate", "Counts", "Lab", "LabError", "Mark", "RRset", "wait_for", "x509_time"]
