"""Parts of the pipeline (`services.pipeline`), each started, supervised and counted by itself."""
