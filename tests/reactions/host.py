"""Faults 64 to 80, of the host, the clock, and what comes after, and the tool without its reaction."""

from __future__ import annotations
