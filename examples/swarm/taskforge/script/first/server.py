"""Nobody asked for this."""
