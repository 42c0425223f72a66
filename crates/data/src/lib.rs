//! Rows (problems, attempts, samples) as Arrow and Parquet, sources, dataset manifests, SQL.
