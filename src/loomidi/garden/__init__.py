"""The live entity graph of a window, and later the knowledge graph and the rules."""
