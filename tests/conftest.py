"""What all tests share: property tests are not timed, since machines are shared and slow at times."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("tercet", deadline=None)
settings.load_profile("tercet")
