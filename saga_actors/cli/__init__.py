"""The command line, `saga-actors`: a face of what the coordinator, the journal and the node already do."""
