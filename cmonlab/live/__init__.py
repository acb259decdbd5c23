"""Live tracing: messages between processes and hosts, and the agent that traces a host."""
