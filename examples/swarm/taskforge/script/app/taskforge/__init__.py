"""TaskForge: a small task manager. API.md says what it answers."""
