//! Which processes are MCP servers, and on what evidence.
