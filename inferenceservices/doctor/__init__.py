"""What is wrong with an installation: pure checks of a snapshot of a cluster, each with evidence and a fix."""
