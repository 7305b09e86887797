"""The seed that saw each mutant first (`tests/sim/run --mutants` printed it); those that need more are in written.py."""

from __future__ import annotations

FOUND_BY = {
    "no wait at all": 0,
    "one TTL where two are to be waited": 6,
    "min_wait is not looked at": 11,
    "settle is not looked at": 7,
    "the shortest wait of all RRsets, not the longest": 0,
    "ready at one owner is ready at all": 49,
    "gone from the primary is gone": 5,
    "a relapse is not noticed": 95,
    "a server that is behind does not hold the clock back": 71,
    "a server that has left the NS RRset is asked no more": 44,
    "an update is entered with its own TTL only": 1,
    "a clock that nobody confirmed measures a wait": 82,
    "the ledger is forgotten when a rollover ends": 0,
    "a return is never gated": 3,
    "a rollback is always in a hurry": 3,
    "the gate of every update is open": 0,
    "what is served and lacks its record is not protected": 0,
    "somebody else's combination gets no record": 22,
    "records of others are withdrawn too": 11,
    "only the goal keeps its record": 4,
    "other services at the owner are forgotten": 4,
    "DANE that somebody switched off is switched on again": 17,
    "a withdrawal before the last endpoint": 0,
    "one connection that shows the new certificate is enough": 0,
    "drain is not waited for": 29,
    "what is retained is never withdrawn": 0,
    "a reload that one address did not hear is not repeated": 4,
    "a live file is never compared with the goal": 3,
    "proven in no round": 0,
    "a queued certificate's turn never comes": 18,
    "what is queued outlives a newer certificate that overtakes it": 5,
    "a paused service goes on": 4,
    "a pause stops what protects, too": 38,
    "a credential whose record is gone counts as ready": 11,
    "what was promised is not stored": 0,
    "records that this tool made are not noted as its own": 0,
    "status says well whatever there is": 3,
    "what some endpoint presents already is ready": 3,
    "what is served is protected only by a clock that is confirmed": 33,
    "what a restart would present is not protected": 3,
    "records from a wildcard do not count as DANE that is on": 107,
    "what does not work is taken back late": 4,
    "a good certificate is given up where one address did not hear the reload": 1,
    "nothing is told of a deferral where anycast nodes need time": 6,
}

#: No schedule has seen these yet: rules that stand behind others, or orders of events that are rarer still.
NOT_SEEN_YET = frozenset(
    {
        "a server comes back with news, and nobody listens",
        "an instant in the future is believed",
        "bad signatures are good enough",
        "a return is made again and again",
        "a reload of another file counts",
        "a newer certificate never waits for its turn",
        "a certificate that was rolled back comes again when its hook does",
    }
)
