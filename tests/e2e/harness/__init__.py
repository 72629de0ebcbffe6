"""The harness of the end-to-end tests: brokers to start, and clients to drive them with."""
