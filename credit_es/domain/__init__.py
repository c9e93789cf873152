"""The log and the decisions: pure, and knowing no library but msgspec."""
