"""Questions that auditors ask of the log; nothing here records anything."""
