"""The sample workbooks and their generator."""
