//! From graded attempts to the training set: filter, select, journey, mix, split.
