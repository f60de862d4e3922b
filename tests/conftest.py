"""What all tests share: property tests are not timed, since machines are shared and slow at times."""

from __future__ import annotations

import signal

from hypothesis import settings

settings.register_profile("tercet", deadline=None)
settings.load_profile("tercet")

# A runner in a shell's background ignores Ctrl-C, and so would every child: tests that press it would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
