"""The transformer API: snapshots are judged, folds proposed and begun under guard, decisions told with their reasons.

Called by `loomidi serve transformer` through `standing_alone`. Which file does what, in the order of a request:
`handling` reads and answers; `asking` and `snapshots` take a body apart; `analyzing`, `proposing` and `initiating` do
the work; `shelves` keeps it. Beside them `following` hears of findings and `learning` of what is usual.
"""
