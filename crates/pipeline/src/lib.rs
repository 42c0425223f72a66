//! Pipeline files, typed graph, fingerprints, artifact store and runner.
