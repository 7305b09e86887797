"""Effects that a kill cut off: an intent without an outcome is closed by what the next look finds.

Nothing is done here: decisions are made of what is seen, not of what was begun (protocol.md, Deciding).
This is for the person who reads the history, and for whoever must know what may have been begun.
"""

from __future__ import annotations

from rollover.core.sighting import Sighting
from rollover.core.timing import stamp
from rollover.engine.host import Host
from rollover.state.journal import OpenIntent


def close_cut_off(host: Host, name: str, seen: Sighting) -> None:
    """Close the open intents of a service with what *seen* shows of them, and tell it in the history.

    For a caller that holds the lock: nobody else's effect is under way.
    """
    for intent in host.store.open_intents(name):
        begun, found = _update(intent, seen) if intent.kind == "update" else _install(intent, seen)
        outcome = f"cut off; found: {found}"
        with host.store.transaction():
            host.store.close_intent(intent.id, outcome, seen.time.wall)
            host.store.event(
                name, "cut-off", f"{begun}, begun at {stamp(intent.at.wall)}, was {outcome}", seen.time.wall
            )


def _update(intent: OpenIntent, seen: Sighting) -> tuple[str, str]:
    """Return what was begun, and for each of its owners whether the primary serves what it was to make."""
    found = []
    for change in intent.detail["changes"]:
        target = change["owner"]
        answers = [o.primary for o in seen.owners if o.target == target and o.primary is not None]
        rrset = next((a.rrset for a in answers if a.rrset is not None), None)
        if rrset is None:
            found.append(f"{target} could not be seen on the primary")
            continue
        there = {str(r) for r in rrset}
        done = there >= set(change["add"]) and not there & set(change["delete"])
        found.append(f"{target} {'has' if done else 'does not have'} what it was to have")
    return f"an update of {intent.detail['zone']}", "; ".join(found) or "nothing to change"


def _install(intent: OpenIntent, seen: Sighting) -> tuple[str, str]:
    """Return what was begun, and for each live file whether it holds the certificate."""
    fingerprint = intent.detail["fingerprint"]
    holds = {x.path for x in seen.live if x.chain is not None and x.chain.fingerprint == fingerprint}
    found = [f"{path} {'holds it' if path in holds else 'does not hold it'}" for path in intent.detail["paths"]]
    return f"the install of certificate {fingerprint[:16]}", "; ".join(found)
