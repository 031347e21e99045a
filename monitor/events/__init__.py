"""Episodes to messages: identity, UTC, JSON, and the fan-out to the sinks' queues."""
