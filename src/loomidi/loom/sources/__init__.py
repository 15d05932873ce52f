"""Where telemetry comes from besides packets: clusters, audit logs, runtime alerts, metrics. One file per source.

Called by `services`, which wires each to a publisher. Every `parse_...` is pure: octets in, a batch of a schema of the
contracts out, what could not be used counted by its cause; readers (`tailing`, `prometheus`, `kubernetes`) do the I/O.
"""
