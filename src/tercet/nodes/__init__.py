"""The roles that stay up: gateway, miner, validator; wire.py between them."""
