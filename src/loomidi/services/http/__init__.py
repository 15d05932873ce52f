"""What every HTTP service shares: problems, authority, limits of bodies, a route table, the server.

Called by `services.ingest_api`, `services.shared.probes` and later services. Leaves what an interface does to its
service.
"""
