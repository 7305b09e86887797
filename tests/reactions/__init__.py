"""The other half of docs/faults.md: each of its tests fails when the reaction to its fault is taken out.

``tests/reactions/run`` takes out each and runs each test; ``tests/reactions/run 17 33`` those of two faults.
By hand: ``ROLLOVER_WITHOUT="17: name" .venv/bin/python -m pytest -p tests.reactions.plugin …``.
"""

from tests.reactions import host, mail, material, servers, updates
from tests.reactions.registry import WITHOUT, take_out

__all__ = ["WITHOUT", "host", "mail", "material", "servers", "take_out", "updates"]
