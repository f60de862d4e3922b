"""Attacks on a market, run as agents against the real contracts on the embedded chain's EVM, in process.

Each is a strategy in `strategies`, played beside an honest twin of equal cost. `suite` runs them over seeds and judges;
`arena` is the market with people in it; `scenario` is the world they measure. Import the modules by name: py-evm,
which all but `lab`, `params` and `interval` need, takes a second.
"""

from __future__ import annotations
