"""The ingestion API: telemetry that others hand in over HTTP, acknowledged once the bus holds it.

Called by `loomidi serve ingest` and by the pipeline, both through `serving`. Which file does what, in the order of a
request: `handling` reads and answers; `sniffing` tells what octets are; `metering` makes flows of them, `scanning` and
`measuring` metrics, `telling` events; `grouping` joins small requests; `committing` puts them on the bus; `counting`.
"""
