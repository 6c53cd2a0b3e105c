//! Secrets in text and arguments, masked by rule before anything leaves the agent.
