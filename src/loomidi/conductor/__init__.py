"""The command line: `loomidi` verbs, one file each, and the `kubermidi` console."""
