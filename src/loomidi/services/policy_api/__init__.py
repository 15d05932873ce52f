"""The policy API: guardrails handed in over HTTP, judged, versioned, put into engines, read back.

Called by `loomidi serve policy` through `standing_alone`. Which file does what, in the order of a request: `handling`
reads and answers; `asking` takes a body apart; `answering` turns errors into problems; the work is `ionic.policies`.
`calling` is the other side: what `loomidi policy deploy` and its fellows send.
"""
