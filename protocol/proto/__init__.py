"""Our own gRPC services: what KServe's has no method for. ``scripts/generate-protos`` writes the modules inside."""
