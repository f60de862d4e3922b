"""Scripts that run inside the sandbox, with nothing of ours beside them."""
