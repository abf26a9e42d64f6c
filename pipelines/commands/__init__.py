"""The commands of `bondhu`, one file per noun; `pipelines.cli` puts them together."""
