"""The files of a session: Parquet columns and the manifest."""
