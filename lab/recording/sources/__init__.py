"""What a recording is made of: one module per source, each with its own threads, its own stream and its own balance."""
