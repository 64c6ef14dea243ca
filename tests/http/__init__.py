# ruff: noqa: A005 - mirrors src/trilho/http
