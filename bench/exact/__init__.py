"""What `bench.fold_exact` is made of: pods that talk, packets that are seen, Loomidi at work, and the comparer."""
