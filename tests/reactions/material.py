"""Faults 36 to 46, of what is handed over, and the tool without its reaction."""

from __future__ import annotations
