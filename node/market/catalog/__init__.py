"""What is on offer and wanted in the network, as this node has heard it."""
