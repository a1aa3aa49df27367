"""pyarrow: a partitioned Parquet dataset, and objects as files, through its S3 file system."""

from scenario import ENDPOINT, MIB, content, expect_equal, expect_same_bytes, main, need_module

fs = need_module("pyarrow.fs")
pyarrow = need_module("pyarrow")
dataset_module = need_module("pyarrow.dataset")
parquet = need_module("pyarrow.parquet")

ROWS = 200_000


def filesystem(**options):
    return fs.S3FileSystem(
        endpoint_override=ENDPOINT.removeprefix("http://"),
        scheme="http",
        region="us-east-1",
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
        allow_bucket_creation=True,
        allow_bucket_deletion=True,
        **options,
    )


def dataset():
    s3 = filesystem()
    s3.create_dir("arrow-dataset")
    table = pyarrow.table(
        {
            "number": pyarrow.array(range(ROWS)),
            "day": pyarrow.array([f"2026-11-{1 + number % 10:02}" for number in range(ROWS)]),
            "text": pyarrow.array([f"row {number * 7919 % ROWS}" for number in range(ROWS)]),
        }
    )
    partitioning = dataset_module.partitioning(pyarrow.schema([("day", pyarrow.string())]), flavor="hive")
    dataset_module.write_dataset(
        table, "arrow-dataset/table", format="parquet", partitioning=partitioning, filesystem=s3
    )
    found = s3.get_file_info(fs.FileSelector("arrow-dataset/table", recursive=True))
    expect_equal(
        sorted(info.path.split("/")[2] for info in found if info.type == fs.FileType.File),
        [f"day=2026-11-{day:02}" for day in range(1, 11)],
        "the files",
    )
    read = dataset_module.dataset("arrow-dataset/table", format="parquet", partitioning=partitioning, filesystem=s3)
    expect_equal(read.count_rows(), ROWS, "the number of rows")
    expect_equal(read.to_table(columns=table.column_names).sort_by("number").equals(table), True, "the table is the same")
    one_day = read.to_table(filter=dataset_module.field("day") == "2026-11-03", columns=["number"])
    expect_equal(sorted(one_day["number"].to_pylist()), list(range(2, ROWS, 10)), "the rows of one day")
    s3.delete_dir("arrow-dataset/table")
    expect_equal(s3.get_file_info("arrow-dataset/table").type, fs.FileType.NotFound, "what was deleted")
    s3.delete_dir("arrow-dataset")


def files():
    # A file is uploaded in parts, whatever its size, unless it may wait for its close.
    for background in [True, False]:
        s3 = filesystem(background_writes=background)
        folder = f"arrow-files-{background}".lower()
        s3.create_dir(folder)
        large = content(6, 27 * MIB + 5)
        with s3.open_output_stream(f"{folder}/a/large", metadata={"Content-Type": "text/x-test"}) as file:
            for begin in range(0, len(large), 3 * MIB):
                file.write(large[begin : begin + 3 * MIB])
        with s3.open_output_stream(f"{folder}/a/empty"):
            pass
        with s3.open_input_file(f"{folder}/a/large") as file:
            expect_equal(file.size(), len(large), "the size")
            file.seek(13 * MIB)
            expect_same_bytes(file.read(100_000), large[13 * MIB : 13 * MIB + 100_000], "a piece")
            expect_same_bytes(file.read_at(10, len(large) - 3), large[-3:], "the end")
        with s3.open_input_stream(f"{folder}/a/large") as file:
            expect_equal(file.metadata()["Content-Type"], b"text/x-test", "the content type")
            expect_same_bytes(file.read(), large, "the large file")
        expect_equal(s3.get_file_info(f"{folder}/a/empty").size, 0, "the size of the empty file")

        s3.copy_file(f"{folder}/a/large", f"{folder}/copy")
        s3.move(f"{folder}/copy", f"{folder}/b/moved +ü")
        found = s3.get_file_info(fs.FileSelector(folder))
        expect_equal(sorted(info.path for info in found), [f"{folder}/a", f"{folder}/b"], "a shallow listing")
        with s3.open_input_stream(f"{folder}/b/moved +ü") as file:
            expect_same_bytes(file.read(), large, "the moved file")
        try:
            s3.open_input_file(f"{folder}/nothing")
        except FileNotFoundError:
            pass
        else:
            raise AssertionError("a file that is not there was opened")
        s3.delete_dir_contents(folder)
        expect_equal(len(s3.get_file_info(fs.FileSelector(folder))), 0, "what is left")


if __name__ == "__main__":
    main(globals())
