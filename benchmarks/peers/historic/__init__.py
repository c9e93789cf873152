"""Loans under django-simple-history: every save keeps a copy of the row, and when it was made."""
