//! Verifiers: is this attempt's answer right, and how do we know?
