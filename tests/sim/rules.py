"""What a DANE sender makes of records and a chain, in words of its own: nothing here is the tool's.

RFC 6698 §2.1 (association data), RFC 7671 §8 (every combination has to match), RFC 7672 §3.1.3 (usages).
"""

from __future__ import annotations

import functools
import hashlib

from tests.sim.materials import Certificate

LENGTHS = {1: 64, 2: 128}  # hex digits


def matches(record: str, chain: Certificate) -> bool | None:
    """Tell whether a record matches; None: it is unusable, and no sender looks at it."""
    usage, selector, mtype, data = record.split()
    if usage not in "23" or selector not in "01" or mtype not in "012":
        return None
    if mtype != "0" and len(data) != LENGTHS[int(mtype)]:
        return None
    for der, spki in ((chain.leaf, chain.leaf_spki),) if usage == "3" else chain.issuers:
        content = spki if selector == "1" else der
        found = (
            content.hex() if mtype == "0" else (hashlib.sha256 if mtype == "1" else hashlib.sha512)(content).hexdigest()
        )
        if found == data:
            return True
    return False


@functools.lru_cache(maxsize=1 << 16)
def valid(records: frozenset[str], chain: Certificate) -> bool:
    """Tell whether every sender that holds these records accepts the chain: each combination has a match."""
    combinations: dict[str, bool] = {}
    for record in records:
        if (match := matches(record, chain)) is not None:
            combination = record[:5]
            combinations[combination] = combinations.get(combination, False) or match
    return all(combinations.values())
