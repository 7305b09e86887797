"""For the command where a hook starts it: the reaction that ROLLOVER_WITHOUT names is not there either."""

from __future__ import annotations

import os
import sys

if os.environ.get("ROLLOVER_WITHOUT") and sys.orig_argv[1:2] and sys.orig_argv[1].endswith("/bin/rollover"):
    from tests.reactions.plugin import take_out_what_is_named

    take_out_what_is_named()
