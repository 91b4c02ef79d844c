"""Writes small sets of vectors as numpy and pyarrow store them, and reads those that Lattice stores: vectors/.

    cargo run -p lattice-vectors --example ours -- vectors/ours      (in this folder)
    python vectors.py

Row r, column c of every set is ((7 r + 13 c) % 101 - 50) / 8, of i8 sets ((7 r + 13 c) % 101 - 50), of u8 sets 50 more: all exact
in every type. Ids are 100 + r or "t<r>", texts "text <r> é"; in sets with nulls, rows 1 and 4 have neither.
"""

import decimal
import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

OUT = pathlib.Path(__file__).resolve().parent / "vectors"
ROWS, COLUMNS = 9, 5
NULL_ROWS = (1, 4)

R, C = np.mgrid[:ROWS, :COLUMNS]
WHOLE = (7 * R + 13 * C) % 101 - 50
REAL = WHOLE / 8
IDS = [f"t{row}" for row in range(ROWS)]
TEXTS = [f"text {row} é" for row in range(ROWS)]


def npy():
    for name, values in {
        "f2": REAL.astype("<f2"), "f4": REAL.astype("<f4"), "f8": REAL.astype("<f8"), "f2be": REAL.astype(">f2"),
        "f4be": REAL.astype(">f4"), "f8be": REAL.astype(">f8"), "i1": WHOLE.astype("i1"), "u1": (WHOLE + 50).astype("u1"),
        "f4_fortran": np.asfortranarray(REAL.astype("<f4")), "f8be_fortran": np.asfortranarray(REAL.astype(">f8")),
    }.items():
        np.save(OUT / f"{name}.npy", values)
    for version in (1, 2, 3):
        with open(OUT / f"v{version}.npy", "wb") as file:
            np.lib.format.write_array(file, REAL.astype("<f4"), version=(version, 0))


def lists(values, kind, size=-1):
    return pa.array([row.tolist() for row in values], type=pa.list_(kind, size))


def table(vectors, ids=IDS, texts=TEXTS, name="embedding"):
    return pa.table({"id": pa.array(ids), "text": pa.array(texts), "year": pa.array(range(ROWS)), name: vectors})


def parquet():
    real = lists(REAL, pa.float32())
    gap = [None if row in NULL_ROWS else text for row, text in enumerate(TEXTS)]
    gap_ids = [None if row in NULL_ROWS else 100 + row for row in range(ROWS)]
    half = pa.array([[np.float16(x) for x in row] for row in REAL], type=pa.list_(pa.float16()))
    groups = {"row_group_size": 4, "compression": "none"}
    for name, (data, options) in {
        "f32": (table(real), {}), "f64": (table(lists(REAL, pa.float64())), {}), "f16": (table(half), {}),
        "i8": (table(lists(WHOLE, pa.int8())), {}), "u8": (table(lists(WHOLE + 50, pa.uint8())), {}),
        "fixed": (table(lists(REAL, pa.float32(), COLUMNS)), {}), "large": (table(lists(REAL, pa.float32()).cast(pa.large_list(pa.float32()))), {}),
        "groups": (table(real, ids=[100 + row for row in range(ROWS)]), groups),
        "plain": (table(real), {"compression": "none", "use_dictionary": False}),
        "split": (table(real), {"use_byte_stream_split": ["embedding.list.element"], "use_dictionary": False}),
        "gzip": (table(real), {"compression": "gzip"}), "lz4": (table(real), {"compression": "lz4"}),
        "v2": (table(real), {"data_page_version": "2.0", "version": "2.6"}), "pages": (table(real), {"data_page_size": 16, "write_batch_size": 2}),
        "nulls": (table(real, ids=gap_ids, texts=gap), {}), "named": (table(real, name="minilm"), {}),
        "zstd": (table(real), {"compression": "zstd"}), "brotli": (table(real), {"compression": "brotli"}),
        "zstd_v2": (table(real), {"compression": "zstd", "data_page_version": "2.0", "use_dictionary": False}),
    }.items():
        pq.write_table(data, OUT / f"{name}.parquet", **({"compression": "snappy"} | options))
    broken = [row.tolist() for row in REAL]
    for name, row, value in [("null_row", 6, None), ("null_number", 6, broken[6][:3] + [None] + broken[6][4:]), ("empty_row", 6, []),
                             ("ragged", 6, broken[6] + [1.0]), ("nan", 6, broken[6][:2] + [float("nan")] + broken[6][3:])]:
        rows = broken[:row] + [value] + broken[row + 1:]
        pq.write_table(table(pa.array(rows, type=pa.list_(pa.float32()))), OUT / f"{name}.parquet", row_group_size=5)
    rest()
    record = pa.array([{"x": 1.0, "y": 2.0}] * ROWS)
    pq.write_table(pa.table({"embedding": record, "embeddings": pa.array([1.0] * ROWS)}), OUT / "record.parquet")


def rest():
    """Columns of every kind beside the vectors; those that JSON has no word for are the last four. Row 4 has a year and a NaN."""
    def column(of, kind):
        return pa.array([None if row == 4 else of(row) for row in range(ROWS)], type=kind)

    pq.write_table(pa.table({
        "year": pa.array(range(ROWS), type=pa.int32()), "embedding": lists(REAL, pa.float32()),
        "long": column(lambda row: -(2**53) - 1 + 3 - row, pa.int64()), "byte": column(lambda row: 250 + row % 5, pa.uint8()),
        "huge": column(lambda row: 2**64 - 1 - row, pa.uint64()), "real": pa.array([float("nan") if row == 4 else 0.1 for row in range(ROWS)]),
        "half": column(lambda row: row + 0.5, pa.float32()), "good": column(lambda row: row % 2 == 0, pa.bool_()),
        "title": column(lambda row: TEXTS[row], pa.string()), "when": column(lambda row: row, pa.timestamp("ms")),
        "price": column(lambda row: decimal.Decimal(row), pa.decimal128(9, 2)), "raw": column(lambda row: b"\xff", pa.binary()),
        "words": column(lambda row: ["a"] * row, pa.list_(pa.string())),
    }), OUT / "rest.parquet", row_group_size=5)


def check(name, columns):
    """What Lattice wrote is what everybody reads."""
    data = pq.ParquetFile(OUT / "ours" / name)
    read = data.read()
    assert read.column_names == columns, read.column_names
    expected = {"f": REAL, "i": WHOLE, "u": WHOLE + 50}[name[0]]
    assert np.array_equal(np.array(read["embedding"].to_pylist()), expected), name
    if "id" in columns:
        ids = [100 + row for row in range(ROWS)] if read["id"].type == pa.int64() else IDS
        assert read["id"].to_pylist() == [None if row in NULL_ROWS else value for row, value in enumerate(ids)]
        assert read["text"].to_pylist() == [None if row in NULL_ROWS else value for row, value in enumerate(TEXTS)]
    assert data.metadata.num_rows == ROWS and data.metadata.num_row_groups == 3
    assert data.metadata.metadata[b"model"] == b"mine"
    print(f"{name}: {read.schema.field('embedding').type}, {data.metadata.num_row_groups} groups, {data.metadata.created_by}")


def ours():
    check("f32.parquet", ["id", "text", "embedding"])
    check("i8.parquet", ["id", "text", "embedding"])
    check("u8.parquet", ["embedding"])
    for name, expected in {"f32": REAL, "i8": WHOLE, "u8": WHOLE + 50}.items():
        values = np.load(OUT / "ours" / f"{name}.npy")
        assert np.array_equal(values, expected), name
        print(f"{name}.npy: {values.dtype} {values.shape}")
    lines = [json.loads(line) for line in open(OUT / "ours" / "f32.jsonl", encoding="utf-8")]
    assert np.array_equal([line["embedding"] for line in lines], REAL)
    assert [line.get("text") for line in lines] == [None if row in NULL_ROWS else text for row, text in enumerate(TEXTS)]
    print(f"f32.jsonl: {len(lines)} lines")


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    npy()
    parquet()
    ours()
