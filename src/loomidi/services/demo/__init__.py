"""`loomidi demo`: a small network of namespaces, real traffic, real attacks, and the fast lane defending it."""
