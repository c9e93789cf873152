"""Ingestion of workbooks."""
