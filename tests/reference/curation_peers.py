"""What curation costs elsewhere, on the same texts as `bench_curate`. Rerunnable, not part of CI.

    pip install rensa datasketch polars datasets
    cargo run --release -p potstill-curate --example bench_curate -- peers FOLDER
    cargo run --release -p potstill-curate --example bench_curate -- attempts FOLDER/attempts.parquet 1000000 256
    python tests/reference/curation_peers.py FOLDER [rensa|datasketch|sets|polars|datasets ...]

Time is processor time of the process, all threads together, for the work alone (texts are read before); `polars` and
`datasets` read their file as part of the work and give wall time too. Peak memory is the process's, so that each peer is
best run in a process of its own.
"""

import re
import resource
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq

folder = Path(sys.argv[1])
wanted = sys.argv[2:] or ["rensa", "datasketch", "sets", "polars", "datasets"]


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def texts(name, column, limit=None):
    return pq.read_table(folder / name, columns=[column])[column].to_pylist()[:limit]


def shingles(text):
    words = re.findall(r"\w+", text.lower())
    return [" ".join(words[i : i + 5]) for i in range(max(1, len(words) - 4))]


def told(name, found, count, spent):
    """Recall at J >= .7 and precision of the texts that a peer would drop."""
    meta = pq.read_table(folder / "texts.parquet", columns=["meta"])["meta"].to_pylist()[:count]
    near = {n for n, m in enumerate(meta) if m["jaccard"] is not None and m["jaccard"] >= 0.7}
    right = near & found
    print(
        f"{name}: {count / spent:.0f} texts per CPU second, recall {len(right) / len(near):.4f}, "
        f"precision {len(right) / max(1, len(found)):.4f}, peak {peak_mb()} MB"
    )


def run_rensa():
    from rensa import RMinHash, RMinHashLSH

    rows = texts("texts.parquet", "response")
    began = time.process_time()
    lsh = RMinHashLSH(threshold=0.7, num_perm=128, num_bands=32)
    hashes, found = [], set()
    for n, text in enumerate(rows):
        m = RMinHash(num_perm=128, seed=42)
        m.update(shingles(text))
        hashes.append(m)
        lsh.insert(n, m)
    for n, m in enumerate(hashes):
        if any(other < n and m.jaccard(hashes[other]) >= 0.7 for other in lsh.query(m)):
            found.add(n)
    told("rensa", found, len(rows), time.process_time() - began)


def run_datasketch():
    from datasketch import MinHash, MinHashLSH

    rows = texts("texts.parquet", "response", 20_000)
    began = time.process_time()
    lsh = MinHashLSH(threshold=0.7, num_perm=128)
    found = set()
    for n, text in enumerate(rows):
        m = MinHash(num_perm=128)
        m.update_batch([s.encode() for s in shingles(text)])
        if any(True for _ in lsh.query(m)):
            found.add(n)
        else:
            lsh.insert(n, m)
    told("datasketch (20,000 texts)", found, len(rows), time.process_time() - began)


def run_sets():
    questions = texts("questions.parquet", "prompt")
    rows = texts("traces.parquet", "response")
    began = time.process_time()

    def grams(text):
        words = re.findall(r"\w+", text.lower())
        return {tuple(words[i : i + 13]) for i in range(len(words) - 12)}

    known = set().union(*(grams(q) for q in questions))
    found = {n for n, text in enumerate(rows) if not known.isdisjoint(grams(text))}
    spent = time.process_time() - began
    planted = set(range(0, len(rows), 10))
    print(
        f"Python sets: {len(rows) / spent:.0f} traces per CPU second, recall {len(found & planted) / len(planted):.4f}, "
        f"{len(found - planted)} false, peak {peak_mb()} MB"
    )


def run_polars():
    import polars as pl

    began, cpu = time.time(), time.process_time()
    rows = pl.scan_parquet(folder / "attempts.parquet")
    condition = (pl.col("verdict") == "correct") & ~pl.col("truncated") & (pl.col("completion_tokens") < 6000)
    tokens = pl.col("completion_tokens")
    out = rows.filter(condition).group_by("domain").agg(pl.len(), tokens.mean().alias("mean"), tokens.max().alias("max"))
    print(out.sort("domain").collect(engine="streaming").rows())
    wall, spent = time.time() - began, time.process_time() - cpu
    count = pq.ParquetFile(folder / "attempts.parquet").metadata.num_rows
    print(f"polars streaming: {count / wall:.0f} rows/s of wall time, {count / spent:.0f} rows per CPU second, peak {peak_mb()} MB")


def run_datasets():
    from datasets import load_dataset

    count = pq.ParquetFile(folder / "attempts.parquet").metadata.num_rows
    data = load_dataset("parquet", data_files=str(folder / "attempts.parquet"), split="train", cache_dir=str(folder / "cache"))
    began, cpu = time.time(), time.process_time()
    keep = data.filter(
        lambda verdict, truncated, tokens: verdict == "correct" and not truncated and tokens < 6000,
        input_columns=["verdict", "truncated", "completion_tokens"],
        load_from_cache_file=False,
    )
    groups = {}
    for domain, tokens in zip(keep["domain"], keep["completion_tokens"]):
        n, total, most = groups.get(domain, (0, 0, 0))
        groups[domain] = (n + 1, total + tokens, max(most, tokens))
    wall, spent = time.time() - began, time.process_time() - cpu
    print(f"datasets: {count / wall:.0f} rows/s of wall time, {count / spent:.0f} rows per CPU second, peak {peak_mb()} MB")


for name in wanted:
    globals()[f"run_{name}"]()
