"""Writes the alerts that are not about one incident: of a group, a bulk repair, a rule, a source,
and results without a receipt.
"""
