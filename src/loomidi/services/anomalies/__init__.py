"""The learned model at work in the pipeline: windows in, incidents, their causes and findings out."""
