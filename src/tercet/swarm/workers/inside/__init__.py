"""Programs that run inside the sandbox, each in its agent's own environment. They import nothing of ours."""
