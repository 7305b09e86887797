"""The other half of docs/faults.md: each of its tests fails when the reaction to its fault is taken out.

tests/reactions/run                  every test of every fault; about an hour
tests/reactions/run 17 33            those of two
ROLLOVER_WITHOUT="17: name" ./test.sh tests/rollover/test_dane_off.py      one by hand
"""

from tests.reactions import host, mail, material, servers, updates
from tests.reactions.registry import WITHOUT, take_out

__all__ = ["WITHOUT", "host", "mail", "material", "servers", "take_out", "updates"]
