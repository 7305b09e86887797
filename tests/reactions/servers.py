"""Faults 21 to 35, of name servers and owners, and the tool without its reaction."""

from __future__ import annotations
