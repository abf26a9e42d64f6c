"""Tables that are worked out from others: each module brings one of them up to date.

What has to be looked at stands in feature_changes. A step takes its rows from there and does what
they ask in one transaction: after a kill, the rows that are left are what is left to do.
"""
