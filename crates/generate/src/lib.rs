//! Ask a model for completions: OpenAI-compatible endpoints, procedural solvers; journal, limits, budget.
