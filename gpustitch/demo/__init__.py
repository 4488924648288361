"""Acquisitions and series with known truth, processed and measured."""
