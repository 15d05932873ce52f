"""What people read: why something was found, what would be done, how it is undone.

`explain` tells one finding in plain words; `report` holds the result of an analysis and draws it as text, JSON and
HTML. Called by `services` and `conductor`. In: records. Out: text. Decides nothing and touches nothing.
"""
