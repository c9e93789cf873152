"""Read tables: disposable, and rebuilt from the log."""
