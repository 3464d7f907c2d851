"""Comparing what the ledger holds with what the broker says, and what follows from it.

Pure: `reconcile` decides, the reconciler moves messages.
"""
