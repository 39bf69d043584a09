"""A Redis or Valkey Cluster: which node serves what, and the way there."""
