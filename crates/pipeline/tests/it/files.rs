//! Files without mistakes, and overrides.
