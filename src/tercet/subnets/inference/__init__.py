"""The competition in serving open language models."""
