"""The ledger: contracts, the client that calls them, wallets, logs, the embedded development chain."""
