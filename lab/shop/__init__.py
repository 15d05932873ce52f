"""The application that the lab watches over: `deploy` it, `wait_ready`, load it, `remove` it.

Called by the lab's verbs, scenarios, recorder and tests. The services themselves are in `app` and run in pods.
"""
