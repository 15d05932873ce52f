"""Events that leave: rendered, queued on disk, sent by one worker for each sink.

Called by `pipeline` (the part `events`) and by `loomidi events`. Each file says what it is for; `choosing` is the only
one that knows the adapters of `loom.sinks`.
"""
