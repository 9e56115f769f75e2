"""What a run leaves behind and what can be drawn from it; nothing here knows of environments."""
